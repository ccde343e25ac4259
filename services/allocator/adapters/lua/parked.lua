-- An ENI has left its node, or did not come to another: its lease is parked, and free to move.
-- Safe to repeat: once parked, the same generation is "superseded".
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation of the moving step
-- returns {"arrived" | "superseded" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
if record.s ~= 'moving' or generation_of(record) ~= ARGV[3] then
  return { 'superseded', stored, '0' }
end
record.s, record.n, record.to = 'parked', nil, nil
record.g = next_generation(KEYS[1], ARGV[1])
return { 'arrived', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
