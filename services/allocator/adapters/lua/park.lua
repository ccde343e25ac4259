-- The pod of a lease has been gone for a while: the address, or the ENI that is wholly its, is to
-- leave its node. The moment at which the pod went stays what it was. Safe to repeat.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] ms: only those whose pod went until then
-- returns {"parking" | "kept" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 and '1' or '0'
if record.s == 'moving' and record.to == '' then return { 'parking', stored, unjournaled } end
if record.s ~= 'retained' or record.t > tonumber(ARGV[3]) then
  return { 'kept', stored, unjournaled }
end
record.s, record.to, record.g = 'moving', '', next_generation(KEYS[1], ARGV[1])
return { 'parking', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
