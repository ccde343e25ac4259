-- The leases that the reaper is to look at, oldest first. They are put off, so that neither another
-- replica takes them meanwhile, nor those that fail stand in the way of the others.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] zset expiries
-- ARGV[1] epoch number   ARGV[2] ms, due until here   ARGV[3] how many at most
-- ARGV[4] ms, the moment they are put off to   ARGV[5] the same, for one that may end with its
-- workload before its span is over
-- returns {"taken" | "epoch_lost", token, record, token, record, …}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local taken = { 'taken' }
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, token in ipairs(due) do
  local record = redis.call('HGET', KEYS[2], token)
  if record then
    local lease = read_record(record)
    local ends = due_of(lease)
    local is_due = lease.s == 'expired' or ends and ends <= tonumber(ARGV[2])
    local is_parked_soon = lease.s == 'moving' or lease.s == 'retained' and lease.k
    local later = (is_due or is_parked_soon) and ARGV[4]
      or math.min(ends or math.huge, tonumber(ARGV[5]))
    redis.call('ZADD', KEYS[3], later, token)
    taken[#taken + 1] = token
    taken[#taken + 1] = record
  else
    redis.call('ZREM', KEYS[3], token)
  end
end
return taken
