-- The last step of a recovery: from now on, scripts of this epoch are heard.
--
-- KEYS[1] hash epoch   ARGV[1] epoch number
-- returns the server's run id, or "" when the claim is no longer the newest, or was put on another
-- server: a replica that was promoted, or an older state, may lack what was restored

if not holds_claim(KEYS[1], ARGV[1]) then return '' end
local id = run_id()
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'run_id', id, 'counter', 0)
return id
