-- Put a lease of a backup into the books, unless they say otherwise of its identity or its address.
-- Safe to repeat: a lease that is there already is answered the same.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash addresses   KEYS[4] hash unjournaled
-- KEYS[5] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] record   ARGV[4] "1": also over another lease
-- ARGV[5] "1": do it; else only say what would be done
-- returns {"restored" | "same" | "live" | "moving" | "address_taken" | "epoch_lost",
--          record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local token, record = ARGV[2], read_record(ARGV[3])
local holder = redis.call('HGET', KEYS[3], record.a)
if holder and holder ~= token then return { 'address_taken', '', '0' } end

local stored = redis.call('HGET', KEYS[2], token)
if stored then
  local known = read_record(stored)
  if known.a == record.a and known.s == record.s and known.n == record.n and known.u == record.u then
    return { 'same', stored, redis.call('HEXISTS', KEYS[4], token) == 1 and '1' or '0' }
  end
  if known.s == 'moving' then return { 'moving', stored, '0' } end -- a cloud call is under way
  if ARGV[4] ~= '1' then return { 'live', stored, '0' } end
  if ARGV[5] == '1' and known.a ~= record.a then redis.call('HDEL', KEYS[3], known.a) end
end
if ARGV[5] ~= '1' then return { 'restored', '', '0' } end
-- The agent that has it bound will name the bind it knows of.
if record.s == 'bound_fixed' then record.b = release_generation(record) end
record.g = next_generation(KEYS[1], ARGV[1])
redis.call('HSET', KEYS[3], record.a, token)
return { 'restored', keep(KEYS[2], KEYS[4], KEYS[5], token, record), '1' }
