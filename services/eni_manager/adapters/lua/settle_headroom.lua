-- A call was answered: its addresses count until the cloud is next asked what is free.
--
-- KEYS[1] hash of the subnet    ARGV[1] name of the call
-- returns 1, or 0 when it counted no more

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HGET', KEYS[1], 'call:' .. ARGV[1])
if not kept then return 0 end
local count, begun_ms = string.match(kept, '^(%d+)|(%d+)|')
redis.call('HSET', KEYS[1], 'call:' .. ARGV[1], string.format('%s|%s|%.0f', count, begun_ms, now_ms))
return 1
