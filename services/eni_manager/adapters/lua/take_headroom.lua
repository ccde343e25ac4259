-- Count addresses that a call will take off what a subnet has left, before the call is made:
-- in the subnet of those named that has most left. Safe to repeat under the same name.
--
-- KEYS hashes, one per subnet:  free (as the cloud told it), asked_ms (when it was asked),
--                               call:<name> (count|begun_ms|answered_ms, 0: not yet)
-- ARGV[1] name   ARGV[2] least   ARGV[3] most   ARGV[4] ms after which an unanswered call
--                                                       no longer counts
-- returns {which key (from 1), count, left after it}, or {0, 0, left in the best one}

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local least, most, lost_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local best, best_left = 0, -1

for at, key in ipairs(KEYS) do
  local kept = redis.call('HGETALL', key)
  local free, asked_ms, taken, own = nil, 0, 0, nil
  for field = 1, #kept, 2 do
    if kept[field] == 'free' then free = tonumber(kept[field + 1]) end
    if kept[field] == 'asked_ms' then asked_ms = tonumber(kept[field + 1]) end
  end
  for field = 1, #kept, 2 do
    local name = string.match(kept[field], '^call:(.*)$')
    if name then
      local count, begun_ms, answered_ms = string.match(kept[field + 1], '^(%d+)|(%d+)|(%d+)$')
      answered_ms = tonumber(answered_ms)
      local is_seen = answered_ms > 0 and answered_ms < asked_ms -- the cloud's number has it
      local is_lost = answered_ms == 0 and tonumber(begun_ms) + lost_ms < now_ms
      if is_seen or is_lost then
        redis.call('HDEL', key, kept[field])
      else
        taken = taken + tonumber(count)
        if name == ARGV[1] then own = tonumber(count) end
      end
    end
  end
  local left = (free or 0) - taken
  if own then return { at, own, left } end
  if left > best_left then best, best_left = at, left end
end

if best == 0 or best_left < least then return { 0, 0, math.max(best_left, 0) } end
local count = math.min(most, best_left)
redis.call('HSET', KEYS[best], 'call:' .. ARGV[1], string.format('%d|%.0f|0', count, now_ms))
return { best, count, best_left - count }
