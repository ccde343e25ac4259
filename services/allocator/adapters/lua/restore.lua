-- Put leases from the journal back, a batch at a time, under a claim.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash addresses   KEYS[4] zset expiries
-- ARGV[1] epoch number of the claim   ARGV[2] JSON array of [token, address, record]
-- returns 1, or 0 when the claim is no longer the newest, or was put on another server

if not holds_claim(KEYS[1], ARGV[1]) then return 0 end
local PAIRS = 1000 -- names and values of one command: the interpreter's stack has an end
local records, holders = {}, {}
for index, lease in ipairs(cjson.decode(ARGV[2])) do
  local token, address, record = lease[1], lease[2], lease[3]
  records[2 * index - 1], records[2 * index] = token, record
  holders[2 * index - 1], holders[2 * index] = address, token
  schedule(KEYS[4], token, read_record(record))
end
for first = 1, #records, PAIRS do
  local last = math.min(first + PAIRS - 1, #records)
  redis.call('HSET', KEYS[2], unpack(records, first, last))
  redis.call('HSET', KEYS[3], unpack(holders, first, last))
end
return 1
