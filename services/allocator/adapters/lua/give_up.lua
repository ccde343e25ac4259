-- A person ends a lease before its time. One that a pod holds is given up only by force.
-- One that was refused its first place is given up where it was to go: it may have come there.
-- Safe to repeat: an expired lease is answered the same.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation that the person saw   ARGV[4] "1": force
-- ARGV[5] "1": its first move was refused for good: no cloud call is under way
-- returns {"expired" | "in_use" | "moving" | "superseded" | "unknown" | "epoch_lost",
--          record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 and '1' or '0'
if record.s == 'expired' then return { 'expired', stored, unjournaled } end
if generation_of(record) ~= ARGV[3] then return { 'superseded', stored, '0' } end
local is_refused = ARGV[5] == '1' and not record.e
if record.s == 'moving' and not is_refused then return { 'moving', stored, '0' } end -- a cloud call is under way
if record.s == 'bound_fixed' and ARGV[4] ~= '1' then return { 'in_use', stored, '0' } end
record.s, record.g, record.t = 'expired', next_generation(KEYS[1], ARGV[1]), now_ms()
record.n, record.to, record.b = record.to or record.n, nil, nil
return { 'expired', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
