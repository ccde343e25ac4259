-- A pod has ended: its lease stays, bound to nobody. Only the bind that holds it may end it.
-- Safe to repeat: a bind that was ended already is answered the same.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] hash fixed
-- KEYS[4] hash unjournaled   KEYS[5] zset expiries
-- ARGV[1] epoch number   ARGV[2] incarnation   ARGV[3] sequence   ARGV[4] lowest unsettled
-- ARGV[5] token   ARGV[6] attachment   ARGV[7] generation of the bind
-- ARGV[8] the cluster's policy now, or "" for never
-- returns {"retained" | "superseded" | "unknown" | "stale" | "unregistered" | "epoch_lost",
--          record or "", unjournaled "1" | "0"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost', '', '0' } end
local refusal = fenced(KEYS[2], ARGV[2], ARGV[3], ARGV[4])
if refusal then return { refusal, '', '0' } end

local stored = redis.call('HGET', KEYS[3], ARGV[5])
if not stored then return { 'unknown', '', '0' } end
local record = read_record(stored)
if record.s == 'retained' and record.c == ARGV[6] then
  end_attachment(KEYS[2], ARGV[6], ARGV[3])
  local unjournaled = redis.call('HEXISTS', KEYS[4], ARGV[5]) == 1 and '1' or '0'
  return { 'retained', stored, unjournaled }
end
local is_holder = record.s == 'bound_fixed' and record.c == ARGV[6]
if not is_holder or release_generation(record) ~= ARGV[7] then
  return { 'superseded', stored, '0' }
end
end_attachment(KEYS[2], ARGV[6], ARGV[3])
record.s, record.g, record.t = 'retained', next_generation(KEYS[1], ARGV[1]), now_ms()
record.b = nil
if not record.p and record.po ~= 'immediate' then record.po = ARGV[8] ~= '' and ARGV[8] or nil end
return { 'retained', keep(KEYS[3], KEYS[4], KEYS[5], ARGV[5], record), '1' }
