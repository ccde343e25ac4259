-- Steps of leases are in the journal: take their marks off, unless a newer step has set one again.
--
-- KEYS[1] hash unjournaled   ARGV[1…] token, generation, token, generation, …
-- returns how many marks were taken off

local count = 0
for index = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[index]) == ARGV[index + 1] then
    count = count + redis.call('HDEL', KEYS[1], ARGV[index])
  end
end
return count
