-- Write and drop records of one node: all of them, or none when the term no longer holds.
--
-- KEYS[1] hash shard      owner, term, ends_ms, server (its run_id)
-- KEYS[2..] hashes of records
-- ARGV[1] term
-- ARGV[2..] triples: which key (2..), field, value; an empty value drops the field
-- returns 1, or 0 when the term was lost

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local held = redis.call('HMGET', KEYS[1], 'term', 'ends_ms', 'server')
if held[1] ~= ARGV[1] or tonumber(held[2]) <= now_ms or held[3] ~= server then
  return 0
end
for at = 2, #ARGV, 3 do
  local key = KEYS[tonumber(ARGV[at])]
  if ARGV[at + 2] == '' then
    redis.call('HDEL', key, ARGV[at + 1])
  else
    redis.call('HSET', key, ARGV[at + 1], ARGV[at + 2])
  end
end
return 1
