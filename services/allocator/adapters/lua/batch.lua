-- Take many steps in one run; put behind all of them when they are loaded.
--
-- KEYS: every key that a step names
-- ARGV[1] JSON array of [step, [its KEYS…], [its ARGV…]]
-- returns the answer of each in turn; a step that fails answers with its error

local answers = {}
for number, call in ipairs(cjson.decode(ARGV[1])) do
  local is_done, answer = pcall(steps[call[1]], call[2], call[3])
  if not is_done and type(answer) ~= 'table' then answer = { err = tostring(answer) } end
  answers[number] = answer
end
return answers
