-- Begin a life of a node's agent: what an earlier life sent is refused from now on.
-- The same nonce again gets the same incarnation.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] set nodes (tokens)
-- ARGV[1] epoch number   ARGV[2] node's token   ARGV[3] the agent's last incarnation   ARGV[4] nonce
-- returns {"epoch_lost"} or {"registered", incarnation}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local known = redis.call('HMGET', KEYS[2], 'incarnation', 'nonce')
if known[2] == ARGV[4] then return { 'registered', tonumber(known[1]) } end
local incarnation = math.max(tonumber(known[1] or 0), tonumber(ARGV[3])) + 1
redis.call('DEL', KEYS[2]) -- what it remembers is of the earlier life
redis.call('HSET', KEYS[2], 'incarnation', incarnation, 'nonce', ARGV[4], 'low', 1, 'report', 0)
redis.call('SADD', KEYS[3], ARGV[2])
return { 'registered', incarnation }
