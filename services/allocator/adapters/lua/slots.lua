-- Which slot of a workload's pool a pod gets; put behind the prelude. domain/pools.py says the same.
--
-- A pod keeps the slot it has. Else it gets one that rests, here before elsewhere, longest first;
-- else a new one; else one in place of a slot that rests where this node cannot have it; else it
-- takes over what was moved for a pod that did not come; else it waits.

-- The lower, the sooner; nil: not to be had.
local function rank_of(record, pool, uid, node)
  local is_here = (record.s == 'retained' and record.n == node)
    or (record.s == 'moving' and record.to == node)
  if record.s == 'bound_fixed' then return record.u == uid and record.n == node and 1 or nil end
  if is_here and record.f == uid then return 1 end
  local rests = record.s == 'retained' or record.s == 'parked'
  if rests and (is_here or pool.s[record.sn]) then
    return (is_here and 2 or 3) + (record.f and 4 or 0)
  end
  return is_here and 8 or nil
end

-- pool: p, q: what stands before and after a slot's number in its token; n: how many pods there
-- may be; s: the subnets that the node can have, each true.
-- returns the slot's token; or nil and the refusal; with a token, the one to be ended for it
local function choose_slot(fixed, pool, uid, node, candidate)
  local tokens = {}
  for number = 0, 2 * pool.n - 1 do tokens[number + 1] = pool.p .. number .. pool.q end
  local best, best_rank, best_age, unused, foreign, foreign_age
  local live = 0
  for index, stored in ipairs(redis.call('HMGET', fixed, unpack(tokens))) do
    local token = tokens[index]
    if not stored then
      unused = unused or token
    else
      local record = read_record(stored)
      if record.s ~= 'expired' then live = live + 1 end
      local age = tonumber(record.g) -- the lower, the longer since its last step
      local rank = rank_of(record, pool, uid, node)
      if rank and (not best or rank < best_rank or rank == best_rank and age < best_age) then
        best, best_rank, best_age = token, rank, age
      end
      local is_foreign = not rank and (record.s == 'retained' or record.s == 'parked')
      if is_foreign and (not foreign or age < foreign_age) then
        foreign, foreign_age = token, age
      end
    end
  end
  if best and best_rank <= 3 then return best end
  if unused and candidate ~= '' and live < pool.n then return unused end
  if unused and candidate ~= '' and foreign then return unused, nil, foreign end
  if best then return best end
  if unused and (live < pool.n or foreign) then return nil, 'no_candidate' end
  return nil, 'pool_full'
end

