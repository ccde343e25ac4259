-- The cloud has moved an address: its lease is retained at the new place.
-- Safe to repeat: once arrived, the same generation is "superseded", and the record tells where
-- the lease is now. A pod asked for it a moment ago, so the time it is kept begins anew; not so
-- for one that was to leave its node and could not. On a node that is gone for ever nothing is
-- retained: a move that began before and is called off, or ends, leaves the lease parked.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- KEYS[5] hash mark (of the node)
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation of the moving step
-- ARGV[4] node   ARGV[5] ENI
-- returns {"arrived" | "superseded" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
if record.s ~= 'moving' or generation_of(record) ~= ARGV[3] then
  return { 'superseded', stored, '0' }
end
if record.to ~= '' then record.t = now_ms() end
record.s, record.n, record.e, record.to = 'retained', ARGV[4], ARGV[5], nil
if redis.call('HEXISTS', KEYS[5], 'gone') == 1 then record.s, record.n = 'parked', nil end
record.g = next_generation(KEYS[1], ARGV[1])
return { 'arrived', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
