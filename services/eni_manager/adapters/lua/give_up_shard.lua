-- End a term early, so that another replica need not wait for its end.
--
-- KEYS[1] hash shard    ARGV[1] term
-- returns 1, or 0 when the term was lost before

if redis.call('HGET', KEYS[1], 'term') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'ends_ms', 0)
return 1
