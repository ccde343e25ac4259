-- Bind an identity's address to an attachment on a node, or say what stands in the way.
-- Safe to repeat: the same attachment and pod get the same answer.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] hash fixed  token -> record
-- KEYS[4] hash addresses  address -> token   KEYS[5] hash unjournaled  token -> generation
-- KEYS[6] zset expiries  token by the moment at which the reaper looks at it
-- ARGV[1] epoch number   ARGV[2] incarnation   ARGV[3] sequence   ARGV[4] lowest unsettled
-- ARGV[5] token   ARGV[6] attachment   ARGV[7] pod uid   ARGV[8] node
-- ARGV[9] candidate address or ""   ARGV[10] its ENI   ARGV[11] its subnet
-- ARGV[12] seconds until it expires once the pod went, or ""
-- ARGV[13] the pool whose slot it is to be (see slots.lua), as JSON, or ""
-- ARGV[14] what made the pod, or ""   ARGV[15] "1": the address is to be that of a whole ENI
-- ARGV[16] policy that the pod asks for, or "" for never
-- ARGV[17] the address that the pod names, or ""   ARGV[18] its subnet
-- ARGV[19] seconds for which that address is kept until the pod has come for it
-- returns {status, record or "", "1" if that record is not yet journaled, its token,
--          token of a slot that was ended for it or "", its record or ""}
--   bound | held           the lease is this attachment's
--   must_move              it is `moving` to this node: journal that, then have it moved
--   moving | holder_alive | expiring | no_candidate | candidate_taken | pool_full | other_kind
--   nominated_taken        the record and the token are the other identity's
--   stale | unregistered | epoch_lost

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local refusal = fenced(KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[6])
if refusal then return { refusal } end

local token, attachment, uid, node = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local candidate = ARGV[9]
local ended_token, ended_record = '', ''

local function answer(status, record, unjournaled)
  return { status, record, unjournaled, token, ended_token, ended_record }
end

local is_pooled = ARGV[13] ~= ''
if is_pooled then
  local chosen, refused, ended = choose_slot(KEYS[3], cjson.decode(ARGV[13]), uid, node, candidate)
  if not chosen then return answer(refused, '', '0') end
  token = chosen
  if ended and not redis.call('HGET', KEYS[4], candidate) then
    local record = read_record(redis.call('HGET', KEYS[3], ended))
    record.s, record.g, record.t = 'expired', next_generation(KEYS[1], ARGV[1]), now_ms()
    ended_token, ended_record = ended, keep(KEYS[3], KEYS[5], KEYS[6], ended, record)
  end
end

local function bind(record)
  record.s, record.g, record.t = 'bound_fixed', next_generation(KEYS[1], ARGV[1]), now_ms()
  record.n, record.u, record.c, record.to = node, uid, attachment, nil
  record.b, record.f, record.w = nil, nil, ARGV[14] ~= '' and ARGV[14] or nil
  if not record.p then
    record.x = ARGV[12] ~= '' and tonumber(ARGV[12]) or nil
    record.po = ARGV[16] ~= '' and ARGV[16] or nil
  end
  return answer('bound', keep(KEYS[3], KEYS[5], KEYS[6], token, record), '1')
end

-- The lease of an address that the pod names begins on its way here, from no place.
local function nominate(address)
  local other = redis.call('HGET', KEYS[4], address)
  if other then
    token = other
    return answer('nominated_taken', redis.call('HGET', KEYS[3], other), '0')
  end
  redis.call('HSET', KEYS[4], address, token)
  local record = { a = address, sn = ARGV[18], s = 'moving', to = node, t = now_ms() }
  record.x, record.g = tonumber(ARGV[19]), next_generation(KEYS[1], ARGV[1])
  return answer('must_move', keep(KEYS[3], KEYS[5], KEYS[6], token, record), '1')
end

local stored = redis.call('HGET', KEYS[3], token)
if not stored then
  if candidate == '' and ARGV[17] ~= '' then return nominate(ARGV[17]) end
  if candidate == '' then return answer('no_candidate', '', '0') end
  local other = redis.call('HGET', KEYS[4], candidate)
  if other and other ~= token then return answer('candidate_taken', other, '0') end
  redis.call('HSET', KEYS[4], candidate, token)
  local is_whole = ARGV[15] == '1' and true or nil
  return bind({ a = candidate, e = ARGV[10], sn = ARGV[11], k = is_whole })
end

local record = read_record(stored)
local unjournaled = redis.call('HEXISTS', KEYS[5], token) == 1 and '1' or '0'
local is_other_kind = (record.k or false) ~= (ARGV[15] == '1')
if is_other_kind and record.s ~= 'expired' then return answer('other_kind', stored, '0') end
if record.s == 'bound_fixed' then
  if record.u ~= uid or record.n ~= node then return answer('holder_alive', stored, '0') end
  if record.c == attachment then return answer('held', stored, unjournaled) end
  return bind(record) -- a new sandbox of the same pod
end
if record.s == 'retained' and record.n == node then return bind(record) end
if record.s == 'retained' or record.s == 'parked' then
  record.s, record.to, record.f = 'moving', node, is_pooled and uid or nil
  record.g, record.t = next_generation(KEYS[1], ARGV[1]), now_ms()
  return answer('must_move', keep(KEYS[3], KEYS[5], KEYS[6], token, record), '1')
end
if record.s == 'moving' then
  return answer(record.to == node and 'must_move' or 'moving', stored, unjournaled)
end
return answer('expiring', stored, '0')
