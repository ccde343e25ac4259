-- A person says what ends a lease once its pod went; from now on neither the pod's own word nor
-- the cluster's is asked. The moment at which the pod went stays what it was, and so does the bind that a release
-- must name.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] seconds, or "" for ever
-- ARGV[4] policy, or "" for never
-- returns {"set" | "moving" | "expired" | "unknown" | "epoch_lost",
--          record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 and '1' or '0'
local span = ARGV[3] ~= '' and tonumber(ARGV[3]) or nil
if record.s == 'moving' then return { 'moving', stored, '0' } end -- its generation is awaited
if record.s == 'expired' then return { 'expired', stored, unjournaled } end
local policy = ARGV[4] ~= '' and ARGV[4] or nil
if record.p and record.x == span and record.po == policy then return { 'set', stored, unjournaled } end
if record.s == 'bound_fixed' then record.b = release_generation(record) end
record.x, record.po, record.p = span, policy, true
record.g = next_generation(KEYS[1], ARGV[1])
return { 'set', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
