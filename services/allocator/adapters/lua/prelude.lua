-- What every step begins with; put before all of them when they are loaded.
--
-- A generation is epoch << 40 | counter. It is kept as text in records, because a JSON encoder
-- rounds large numbers; below 2^53 it is exact as a number too.

local function now_ms()
  local time = redis.call('TIME') -- the server's clock is the only one leases are measured by
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local own_id -- cannot change while a script runs; asking for it takes longer than most steps

local function run_id()
  own_id = own_id or string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return own_id
end

local function is_of_this_server(key, name, server_name, number)
  local known = redis.call('HMGET', key, name, server_name)
  return known[1] == number and known[2] == run_id()
end

-- A restarted, restored, promoted or emptied server is not the one this epoch was opened on.
local function is_epoch(key, number)
  return is_of_this_server(key, 'number', 'run_id', number)
end

-- What a recovery has put back is only on the server that it claimed.
local function holds_claim(key, number)
  return is_of_this_server(key, 'claim', 'claimed_on', number)
end

local function next_generation(key, number)
  local counter = redis.call('HINCRBY', key, 'counter', 1)
  return string.format('%.0f', tonumber(number) * 1099511627776 + counter)
end

local function text_of(generation)
  if type(generation) == 'number' then return string.format('%.0f', generation) end
  return generation
end

local function generation_of(record)
  return text_of(record.g)
end

-- A record is a JSON array: the version, then these, what is not set at the end left off. To the
-- steps it is a table by these names; version 1 was one. shared/store/lease_records.py says more.
-- STORED_FORMAT, the version that is written, stands before this text.
local NAMES = {
  'a', 's', 'g', 'sn', 'n', 'e', 'u', 'c', 't', 'w', 'x', 'po', 'to', 'p', 'b', 'f', 'k'
}
local LETTERS = { bound_fixed = 'b', retained = 'r', moving = 'm', parked = 'p', expired = 'e' }
local STATES = { b = 'bound_fixed', r = 'retained', m = 'moving', p = 'parked', e = 'expired' }
local DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- An attachment of version 1 as it is written since.
local function packed(attachment)
  local id = string.match(attachment, '^[^/]+/([0-9a-f]+)/eth0$')
  if not id or #id ~= 64 then return attachment end
  return (string.gsub(id, '%x%x%x', function(three)
    local number = tonumber(three, 16)
    local high, low = math.floor(number / 64) + 1, number % 64 + 1
    return string.sub(DIGITS, high, high) .. string.sub(DIGITS, low, low)
  end))
end

-- And as version 1 has it, which the identity's token helps with.
local function unpacked(attachment, token)
  if string.find(attachment, '/', 1, true) then return attachment end
  local id = string.gsub(string.sub(attachment, 1, 42), '..', function(two)
    local high = string.find(DIGITS, string.sub(two, 1, 1), 1, true) - 1
    local low = string.find(DIGITS, string.sub(two, 2, 2), 1, true) - 1
    return string.format('%03x', high * 64 + low)
  end)
  local network = string.match(token, '^.-%%2F.-%%2F(.-)%%2F') -- behind namespace and name
  network = string.gsub(network, '%%(%x%x)', function(byte) return string.char(tonumber(byte, 16)) end)
  return network .. '/' .. id .. string.sub(attachment, 43) .. '/eth0'
end

local function read_record(text)
  local stored = cjson.decode(text)
  if stored.v then
    stored.c = stored.c and packed(stored.c)
    return stored
  end
  local record = {}
  for index, name in ipairs(NAMES) do
    local value = stored[index + 1]
    if value ~= cjson.null then record[name] = value end
  end
  record.s = STATES[record.s]
  return record
end

local function write_version_1(token, record)
  local stored = { v = 1 }
  for _, name in ipairs(NAMES) do stored[name] = record[name] end
  stored.g, stored.b = text_of(record.g), text_of(record.b)
  stored.c = record.c and unpacked(record.c, token)
  if record.w and string.sub(record.w, 1, 1) == ':' then stored.w = 'StatefulSet' .. record.w end
  return cjson.encode(stored)
end

local function write_record(token, record)
  if STORED_FORMAT == 1 then return write_version_1(token, record) end
  local stored, last = { 2 }, 1
  for index, name in ipairs(NAMES) do
    local value = record[name]
    if name == 's' then value = LETTERS[value] end
    if name == 'g' or name == 'b' then value = text_of(value) end
    if value ~= nil then last = index + 1 end
    stored[index + 1] = value == nil and cjson.null or value
  end
  for index = #NAMES + 1, last + 1, -1 do stored[index] = nil end
  return cjson.encode(stored)
end

-- What the release of a bound lease must name: a later step need not have ended the bind.
local function release_generation(record)
  return text_of(record.b or record.g)
end

-- nil when this request may be heard, else why not. Raises the node's low-water mark. What was
-- asked for an attachment before its release is dead above that mark, too, which the question of
-- another pod may hold back.
local function fenced(mark, incarnation, sequence, lowest, attachment)
  local known = redis.call('HMGET', mark, 'incarnation', 'low', 'ended:' .. (attachment or ''))
  if not known[1] or tonumber(incarnation) > tonumber(known[1]) then return 'unregistered' end
  if tonumber(incarnation) < tonumber(known[1]) then return 'stale' end
  if tonumber(sequence) < tonumber(known[2]) then return 'stale' end
  if known[3] and tonumber(sequence) < tonumber(known[3]) then return 'stale' end
  if tonumber(lowest) > tonumber(known[2]) then redis.call('HSET', mark, 'low', lowest) end
  return nil
end

-- Remember an attachment's release for as long as the low-water mark lies below it.
local function end_attachment(mark, attachment, sequence)
  local low = tonumber(redis.call('HGET', mark, 'low'))
  local fields, name = redis.call('HGETALL', mark), 'ended:' .. attachment
  for index = 1, #fields, 2 do
    local field, value = fields[index], tonumber(fields[index + 1])
    if field == name then sequence = math.max(tonumber(sequence), value) end
    if string.sub(field, 1, 6) == 'ended:' and value <= low then redis.call('HDEL', mark, field) end
  end
  if tonumber(sequence) > low then redis.call('HSET', mark, name, sequence) end
end

-- The moment, in ms, at which a lease ends that its pod does not come back for; nil: never.
local function due_of(record)
  local waits = record.s == 'retained' or record.s == 'parked'
  return waits and record.x and record.t + record.x * 1000 or nil
end

-- Have the reaper look at a lease when it is due, and at once when there is something to do: it
-- is to be handed over, its ENI is to be taken off the node that its pod left, or it may end with
-- its workload.
local function schedule(expiries, token, record)
  local waits = record.s == 'retained' or record.s == 'parked'
  local follows = waits and (record.po == 'cascade' or record.po == 'scale_down')
  local is_parking = record.s == 'moving' and record.to == ''
  local is_left = record.s == 'retained' and record.k
  local is_now = record.s == 'expired' or is_left or is_parking or follows
  local due = is_now and record.t or due_of(record)
  if due then
    redis.call('ZADD', expiries, due, token)
  else
    redis.call('ZREM', expiries, token)
  end
end

-- Store a lease in its new state and mark it as not yet journaled.
local function keep(fixed, unjournaled, expiries, token, record)
  local text = write_record(token, record)
  redis.call('HSET', fixed, token, text)
  redis.call('HSET', unjournaled, token, record.g)
  schedule(expiries, token, record)
  return text
end

