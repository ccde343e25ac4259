-- Take or renew the right to work on a shard of nodes. A term ends by the server's clock.
--
-- Its number is at least the moment (µs) at which it begins: a counter alone would begin again in a
-- store that was emptied or put back, and agents refuse the orders of terms below the last. On a
-- server that was restarted, put back or promoted its owner gets another term: what it holds in
-- memory may be newer than what the books there say, and it reads them anew.
--
-- KEYS[1] hash   shard    owner, term, ends_ms, server (its run_id)
-- KEYS[2] string terms    the highest of the whole cluster, so that terms rise whatever the shards
-- ARGV[1] owner   ARGV[2] ttl (ms)
-- returns the term, or 0 while another owner's holds

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local held = redis.call('HMGET', KEYS[1], 'owner', 'term', 'ends_ms', 'server')
local holds = held[3] and tonumber(held[3]) > now_ms

if holds and held[1] ~= ARGV[1] then
  return 0
end
local term = held[2]
if not holds or held[4] ~= server then
  local following = tonumber(redis.call('GET', KEYS[2]) or 0) + 1
  local now_us = time[1] * 1000000 + time[2] -- below 2^53 until the year 2255
  term = string.format('%.0f', math.max(following, now_us))
  redis.call('SET', KEYS[2], term)
end
local ends_ms = string.format('%.0f', now_ms + ARGV[2])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'term', term, 'ends_ms', ends_ms, 'server', server)
return tonumber(term)
