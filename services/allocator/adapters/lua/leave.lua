-- A node is gone for ever: what its agent may still say is refused, and what it told is forgotten.
-- One that lives after all is told that its life is over, and begins another. Until then no
-- lease comes to it, or back to it.
--
-- KEYS[1] hash epoch   KEYS[2] hash mark (of the node)   KEYS[3] hash reported address -> view
-- ARGV[1] epoch number
-- returns {"left" | "epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
local incarnation = redis.call('HGET', KEYS[2], 'incarnation')
if incarnation then
  redis.call('HSET', KEYS[2], 'incarnation', incarnation + 1, 'nonce', '', 'low', 1, 'report', 0)
end
redis.call('HSET', KEYS[2], 'gone', 1)
redis.call('DEL', KEYS[3])
return { 'left' }
