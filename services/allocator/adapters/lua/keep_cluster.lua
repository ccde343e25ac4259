-- Copy the cluster's record from the journal, unless the copy here is newer.
--
-- KEYS[1] string cluster   ARGV[1] record   ARGV[2] its revision
-- returns 1 when it was copied

local stored = redis.call('GET', KEYS[1])
if stored and cjson.decode(stored).revision >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
