-- Append messages, each to its room's log, and publish them; a resend gets the first one's id. They are one
-- step for Redis, and yet one that fails is no matter of the others.
-- KEYS 1 namespace
-- ARGV 1 how long a resend is recognised, ms, then for each message: room, `<sender> <client id>`, content (JSON)
-- Returns for each { id, 1 if it is a resend, messages since the last flush was asked for }, or a text: the error
local window = tonumber(ARGV[1])

local function append(room, own_id, content)
  local first = sent_before(room, own_id)
  if first then return { integer(first), 1, 0 } end
  local id, fresh = add(room, own_id, content, window, 0)
  return { id, 0, fresh }
end

local answers = {}
for i = 2, #ARGV, 3 do
  local kept, answer = pcall(append, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if not kept and type(answer) == 'table' then answer = answer.err end
  answers[#answers + 1] = answer
end
return answers
