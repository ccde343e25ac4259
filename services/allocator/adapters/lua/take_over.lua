-- A pod has ended on a node that cannot say so any more: its lease moves to where the next pod is.
-- Only for a holder on another node: there the cloud's migration is the fence.
-- Safe to repeat: the lease has a newer generation then, and an acquire finds it moving.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation that was seen   ARGV[4] node to move to
-- ARGV[5] the pod for which a pool's slot moves, or ""
-- returns {"moving" | "superseded" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local is_elsewhere = record.s == 'bound_fixed' and record.n ~= ARGV[4]
if not is_elsewhere or generation_of(record) ~= ARGV[3] then
  return { 'superseded', stored, '0' }
end
record.s, record.to, record.b = 'moving', ARGV[4], nil
record.f = ARGV[5] ~= '' and ARGV[5] or nil
record.g, record.t = next_generation(KEYS[1], ARGV[1]), now_ms()
return { 'moving', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
