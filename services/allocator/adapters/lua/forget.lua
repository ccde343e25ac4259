-- An expired lease was handed over: it is no more. Its tombstone is in the journal already.
-- Safe to repeat: a lease that is gone is "unknown".
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash addresses   KEYS[4] hash unjournaled
-- KEYS[5] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation of the expired step
-- returns {"forgotten" | "superseded" | "unknown" | "epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown' } end
local record = read_record(stored)
if record.s ~= 'expired' or generation_of(record) ~= ARGV[3] then return { 'superseded' } end
redis.call('HDEL', KEYS[2], ARGV[2])
if redis.call('HGET', KEYS[3], record.a) == ARGV[2] then redis.call('HDEL', KEYS[3], record.a) end
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
return { 'forgotten' }
