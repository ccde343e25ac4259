-- One token of an action's bucket, shared by every replica; the rate falls when the cloud
-- throttles and rises again step by step (additive increase, multiplicative decrease).
--
-- KEYS[1] hash bucket    tokens, at_ms, rate (per second)
-- ARGV[1] verb: take | throttled    ARGV[2] documented rate (per second)
-- returns how long to wait (ms) before the call may be sent; the token is taken already

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local documented = tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms', 'rate')
local at_ms = tonumber(kept[2]) or now_ms
local rate = tonumber(kept[3]) or documented
local passed_s = math.max(0, now_ms - at_ms) / 1000

rate = math.min(documented, rate + documented * 0.05 * passed_s) -- whole again within 20 s
local depth = math.max(1, rate / 10) -- a tenth of a second's worth may go at once
local tokens = math.min(depth, (tonumber(kept[1]) or depth) + rate * passed_s)

local wait_ms = 0
if ARGV[1] == 'throttled' then
  rate = math.max(1, rate / 2)
  tokens = math.min(tokens, 0)
else
  tokens = tokens - 1
  if tokens < 0 then
    wait_ms = math.ceil(-tokens / rate * 1000)
  end
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at_ms', now_ms, 'rate', tostring(rate))
redis.call('PEXPIRE', KEYS[1], 3600000)
return wait_ms
