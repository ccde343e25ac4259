-- Tokens of an action's bucket, shared by every replica; the rate falls when the cloud
-- throttles and rises again step by step (additive increase, multiplicative decrease).
-- Less urgent calls get nothing while a more urgent one waits, in whichever replica.
--
-- KEYS[1] hash bucket    tokens, at_ms, rate (per second), cut_ms (of the last decrease),
--                        waits:<urgency> (until when somebody is taken to wait, ms)
-- ARGV[1] verb: take | throttled    ARGV[2] documented rate (per second)
-- ARGV[3] urgency (0 first)    ARGV[4] tokens wanted
-- returns {tokens granted, ms to wait before asking for the others}

local PATIENCE_MS = 250 -- a replica that waits asks again within this time
local ASK_AGAIN_MS = 50 -- at least this long between two questions for more
local RECOVERY_S = 20 -- from nothing to the documented rate
local CUT_EVERY_MS = 1000 -- calls that were under way together are throttled together: one cut

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local documented = tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms', 'rate', 'cut_ms')
local at_ms = tonumber(kept[2]) or now_ms
local rate = tonumber(kept[3]) or documented
local cut_ms = tonumber(kept[4]) or 0
local passed_s = math.max(0, now_ms - at_ms) / 1000

rate = math.min(documented, rate + documented / RECOVERY_S * passed_s)
local depth = math.max(1, rate / 10) -- a tenth of a second's worth may go at once
local tokens = math.min(depth, (tonumber(kept[1]) or depth) + rate * passed_s)

local granted, wait_ms = 0, 0
if ARGV[1] == 'throttled' then
  if now_ms - cut_ms >= CUT_EVERY_MS then
    rate, cut_ms = math.max(1, rate / 2), now_ms
  end
  tokens = math.min(tokens, 0)
else
  local urgency, wanted = tonumber(ARGV[3]), tonumber(ARGV[4])
  local stands_back = false
  for other = 0, urgency - 1 do
    local until_ms = tonumber(redis.call('HGET', KEYS[1], 'waits:' .. other) or 0)
    stands_back = stands_back or until_ms > now_ms
  end
  if stands_back then
    wait_ms = ASK_AGAIN_MS
  else
    granted = math.max(0, math.min(wanted, math.floor(tokens)))
    tokens = tokens - granted
    if granted < wanted then
      redis.call('HSET', KEYS[1], 'waits:' .. urgency, now_ms + PATIENCE_MS)
      wait_ms = math.max(math.ceil((1 - tokens) / rate * 1000), ASK_AGAIN_MS)
    else
      redis.call('HDEL', KEYS[1], 'waits:' .. urgency)
    end
  end
end
redis.call(
  'HSET', KEYS[1],
  'tokens', tostring(tokens), 'at_ms', now_ms, 'rate', tostring(rate), 'cut_ms', cut_ms
)
redis.call('PEXPIRE', KEYS[1], 3600000)
return { granted, wait_ms }
