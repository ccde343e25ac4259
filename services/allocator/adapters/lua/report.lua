-- Keep what an agent tells of its `Immediate` addresses; an older report changes nothing.
-- With it goes the node's low-water mark, so of the candidates whose questions are dead by it this
-- tells for good which have become leases: by a copy of the question whose answer was lost.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] hash reported address -> view
-- KEYS[4] hash addresses  address -> token
-- ARGV[1] epoch number   ARGV[2] incarnation   ARGV[3] sequence   ARGV[4] lowest unsettled
-- ARGV[5] "1" when the report is the whole   ARGV[6] how many addresses follow, as pairs
-- ARGV[7] how many are gone
-- ARGV[8…] address, view, address, view, …; the addresses that are gone; the candidates
-- returns {"reported", candidate, …: those that are leases'}
--   | {"stale" | "unregistered" | "epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local refusal = fenced(KEYS[2], ARGV[2], ARGV[3], ARGV[4])
if refusal then return { refusal } end
local last = tonumber(redis.call('HGET', KEYS[2], 'report') or 0)
if tonumber(ARGV[3]) < last then return { 'stale' } end
redis.call('HSET', KEYS[2], 'report', ARGV[3])
if ARGV[5] == '1' then redis.call('DEL', KEYS[3]) end
local gone = 8 + 2 * tonumber(ARGV[6])
local candidates = gone + tonumber(ARGV[7])
for index = 8, gone - 1, 2 do
  redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
end
for index = gone, candidates - 1 do
  redis.call('HDEL', KEYS[3], ARGV[index])
end
local answer = { 'reported' }
for index = candidates, #ARGV do
  if redis.call('HEXISTS', KEYS[4], ARGV[index]) == 1 then answer[#answer + 1] = ARGV[index] end
end
return answer
