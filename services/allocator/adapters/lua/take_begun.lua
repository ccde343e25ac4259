-- Of what is due, what has begun already and no clock decides of: leases that have ended and are to be
-- handed over, and those on their way to nowhere (the only moves that are ever due). They are put off;
-- the others stay as they are.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] zset expiries
-- ARGV[1] epoch number   ARGV[2] ms, due until here   ARGV[3] how many are looked at, at most
-- ARGV[4] ms, the moment they are put off to   ARGV[5] rank of the first that is looked at
-- returns {"taken", rank to go on from, token, record, token, record, …} | {"epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', ARGV[5], ARGV[3])
local taken = { 'taken', '0' }
local left = 0
for _, token in ipairs(due) do
  local record = redis.call('HGET', KEYS[2], token)
  local lease = record and read_record(record)
  if lease and (lease.s == 'expired' or lease.s == 'moving') then
    redis.call('ZADD', KEYS[3], ARGV[4], token)
    taken[#taken + 1] = token
    taken[#taken + 1] = record
  else
    left = left + 1
  end
end
if #due == tonumber(ARGV[3]) then taken[2] = tostring(ARGV[5] + left) end
return taken
