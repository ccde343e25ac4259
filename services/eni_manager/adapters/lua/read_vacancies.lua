-- A page of what has changed after a revision, in the order of the changes.
--
-- KEYS[1] hash vacancies   KEYS[2] zset changes   KEYS[3] hash marks
-- ARGV[1] revision   ARGV[2] how many at most
-- returns: floor, revision, then pairs of a revision and what a node told

local marks = redis.call('HMGET', KEYS[3], 'floor', 'revision')
local found = { marks[1] or '0', marks[2] or '0' }
local changes = redis.call(
  'ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2]
)
for at = 1, #changes, 2 do
  table.insert(found, changes[at + 1])
  table.insert(found, redis.call('HGET', KEYS[1], changes[at]))
end
return found
