-- A person ends a lease before its time. One that a pod holds is given up only by force.
-- Safe to repeat: an expired lease is answered the same.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation that the person saw   ARGV[4] "1": force
-- returns {"expired" | "in_use" | "moving" | "superseded" | "unknown" | "epoch_lost",
--          record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 and '1' or '0'
if record.s == 'expired' then return { 'expired', stored, unjournaled } end
if generation_of(record) ~= ARGV[3] then return { 'superseded', stored, '0' } end
if record.s == 'moving' then return { 'moving', stored, '0' } end -- a cloud call is under way
if record.s == 'bound_fixed' and ARGV[4] ~= '1' then return { 'in_use', stored, '0' } end
record.s, record.g, record.t = 'expired', next_generation(KEYS[1], ARGV[1]), now_ms()
record.b = nil
return { 'expired', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
