-- Which of these addresses some fixed lease names; only while the leases can be believed.
--
-- KEYS[1] hash epoch       number (0: being rebuilt), run_id of the server it was opened on
-- KEYS[2] hash addresses   address -> identity token
-- ARGV    addresses
-- returns {'open', address, ...}, or {'lost'} when this is not the server of an open epoch

local known = redis.call('HMGET', KEYS[1], 'number', 'run_id')
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not known[1] or tonumber(known[1]) < 1 or known[2] ~= run_id then
  return { 'lost' }
end
local found = { 'open' }
for _, address in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[2], address) == 1 then
    found[#found + 1] = address
  end
end
return found
