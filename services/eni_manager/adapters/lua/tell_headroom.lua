-- What the cloud told of a subnet; an answer to an older question than the last changes nothing.
--
-- KEYS[1] hash of the subnet    ARGV[1] free    ARGV[2] when it was asked (ms, this server's)
-- returns 1, or 0 for an older answer

local asked_ms = tonumber(redis.call('HGET', KEYS[1], 'asked_ms') or 0)
if tonumber(ARGV[2]) < asked_ms then return 0 end
redis.call('HSET', KEYS[1], 'free', ARGV[1], 'asked_ms', ARGV[2])
return 1
