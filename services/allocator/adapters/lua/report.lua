-- Keep what an agent tells of its `Immediate` addresses; an older report changes nothing.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] hash reported address -> view
-- ARGV[1] epoch number   ARGV[2] incarnation   ARGV[3] sequence   ARGV[4] lowest unsettled
-- ARGV[5] "1" when the report is the whole   ARGV[6] how many addresses follow, as pairs
-- ARGV[7…] address, view, address, view, …; then the addresses that are gone
-- returns {"reported" | "stale" | "unregistered" | "epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local refusal = fenced(KEYS[2], ARGV[2], ARGV[3], ARGV[4])
if refusal then return { refusal } end
local last = tonumber(redis.call('HGET', KEYS[2], 'report') or 0)
if tonumber(ARGV[3]) < last then return { 'stale' } end
redis.call('HSET', KEYS[2], 'report', ARGV[3])
if ARGV[5] == '1' then redis.call('DEL', KEYS[3]) end
local count = tonumber(ARGV[6])
for index = 7, 6 + 2 * count, 2 do
  redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
end
for index = 7 + 2 * count, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[index])
end
return { 'reported' }
