-- Put leases from the journal back, a batch at a time, under a claim.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash addresses   KEYS[4] zset expiries
-- ARGV[1] epoch number of the claim   ARGV[2…] token, address, record, token, address, record …
-- returns 1, or 0 when the claim is no longer the newest

if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
for index = 2, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 2])
  redis.call('HSET', KEYS[3], ARGV[index + 1], ARGV[index])
  schedule(KEYS[4], ARGV[index], cjson.decode(ARGV[index + 2]))
end
return 1
