-- What nodes of one shard have and could still take; who has the shard tells it.
--
-- KEYS[1] hash shard      owner, term, ends_ms
-- KEYS[2] hash vacancies  node → what it told
-- KEYS[3] zset changes    node, at the revision of its last change
-- KEYS[4] hash marks      revision: of the last change; floor: readers below it begin anew
-- ARGV[1] term
-- ARGV[2..] pairs: node, what it tells; empty when the node has left
-- returns 1, or 0 when the term was lost

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'term', 'ends_ms')
if held[1] ~= ARGV[1] or tonumber(held[2]) <= now_ms then
  return 0
end
local revision = tonumber(redis.call('HGET', KEYS[4], 'revision'))
if not revision then -- higher than any of a store that was lost
  revision = now_ms
  redis.call('HSET', KEYS[4], 'floor', revision)
end
for at = 2, #ARGV, 2 do
  local node, told = ARGV[at], ARGV[at + 1]
  if told == '' then
    if redis.call('HDEL', KEYS[2], node) == 1 then
      redis.call('ZREM', KEYS[3], node)
      revision = revision + 1
      redis.call('HSET', KEYS[4], 'floor', revision)
    end
  elseif redis.call('HGET', KEYS[2], node) ~= told then
    revision = revision + 1
    redis.call('HSET', KEYS[2], node, told)
    redis.call('ZADD', KEYS[3], revision, node)
  end
end
redis.call('HSET', KEYS[4], 'revision', revision)
return 1
