-- A node is gone for ever: a lease that was on it has no place any more, and is free to move. The
-- moment at which its pod went stays what it was; a pod that was there until now has gone now.
-- Safe to repeat: the lease has a newer generation then.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed   KEYS[3] hash unjournaled   KEYS[4] zset expiries
-- ARGV[1] epoch number   ARGV[2] token   ARGV[3] generation that was seen   ARGV[4] the node
-- ARGV[5] the cluster's policy now, or "" for never
-- returns {"parked" | "superseded" | "unknown" | "epoch_lost", record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
local is_bound = record.s == 'bound_fixed'
local is_there = (is_bound or record.s == 'retained') and record.n == ARGV[4]
if not is_there or generation_of(record) ~= ARGV[3] then return { 'superseded', stored, '0' } end
if is_bound then
  record.t = now_ms()
  if not record.p and record.po ~= 'immediate' then
    record.po = ARGV[5] ~= '' and ARGV[5] or nil
  end
end
record.s, record.n, record.b = 'parked', nil, nil
record.g = next_generation(KEYS[1], ARGV[1])
return { 'parked', keep(KEYS[2], KEYS[3], KEYS[4], ARGV[2], record), '1' }
