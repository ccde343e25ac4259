-- Put leases from the journal back, a batch at a time, under a claim.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash addresses   KEYS[4] zset expiries
-- ARGV[1] epoch number of the claim   ARGV[2] JSON array of [token, address, record]
-- returns 1, or 0 when the claim is no longer the newest

if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
for _, lease in ipairs(cjson.decode(ARGV[2])) do
  local token, address, record = lease[1], lease[2], lease[3]
  redis.call('HSET', KEYS[2], token, record)
  redis.call('HSET', KEYS[3], address, token)
  schedule(KEYS[4], token, read_record(record))
end
return 1
