-- Write records again in the version that is stored now; what they say stays, so does every mark.
-- Safe to repeat, and at any moment: a step that comes between has written its own.
--
-- KEYS[1] hash epoch   KEYS[2] hash fixed
-- ARGV[1] epoch number   ARGV[2…] tokens
-- returns {"rewritten" | "epoch_lost"}

if not is_epoch(KEYS[1], ARGV[1]) then return { 'epoch_lost' } end
for index = 2, #ARGV do
  local token = ARGV[index]
  local stored = redis.call('HGET', KEYS[2], token)
  if stored then redis.call('HSET', KEYS[2], token, write_record(token, read_record(stored))) end
end
return { 'rewritten' }
