-- A lease's step is in the journal: take its mark off, unless a newer step has set it again.
--
-- KEYS[1] hash unjournaled   ARGV[1] token   ARGV[2] generation
-- returns 1 when the mark was taken off

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
