-- A lease was kept for as long as it is kept: nobody gets it any more.
-- Safe to repeat: an expired lease is answered the same.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] ms, a moment that this server's clock has reached
-- returns {"expired" | "kept" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 and '1' or '0'
if record.s == 'expired' then return { 'expired', stored, unjournaled } end
local due = due_of(record)
if not due or due > tonumber(ARGV[3]) then return { 'kept', stored, unjournaled } end
record.s, record.g, record.t = 'expired', next_generation(KEYS[1], ARGV[1]), now_ms()
return { 'expired', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
