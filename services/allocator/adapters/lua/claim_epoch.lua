-- Begin the recovery that opens an epoch: later steps must carry this claim. A rebuild empties
-- the books first; agents register again.
--
-- KEYS[1] hash epoch   KEYS[2] set nodes (tokens)   KEYS[3] hash fixed   KEYS[4] hash addresses
-- KEYS[5] hash unjournaled   KEYS[6] zset expiries
-- ARGV[1] epoch number   ARGV[2] "1" to empty the books   ARGV[3] prefix of a node's mark key
-- returns 1, or 0 when a newer claim is there

if tonumber(redis.call('HGET', KEYS[1], 'claim') or 0) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'claim', ARGV[1], 'claimed_on', run_id())
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'number', 0)
  for _, node in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    redis.call("UNLINK", ARGV[3] .. node)
  end
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
end
return 1
