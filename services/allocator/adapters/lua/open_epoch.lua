-- The last step of a recovery: from now on, scripts of this epoch are heard.
--
-- KEYS[1] hash epoch   ARGV[1] epoch number
-- returns the server's run id, or "" when the claim is no longer the newest

if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return '' end
local id = run_id()
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'run_id', id, 'counter', 0)
return id
