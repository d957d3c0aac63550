-- Append messages, each to its room's log, and publish them; a resend gets the first one's id. They are one
-- step for Redis, and yet a room of which one fails is no matter of the others.
-- KEYS 1 namespace
-- ARGV 1 how long a resend is recognised, ms, then for each room: room, how many messages, and for each of those
--      `<sender> <client id>`, content (JSON)
-- Returns for each message, one after another: its id, 1 if it is a resend, messages since the last flush was asked
-- for; or instead of the id a text, the error
local window = tonumber(ARGV[1])
local answers = {}

local function answer(id, is_resend, fresh)
  local n = #answers
  answers[n + 1], answers[n + 2], answers[n + 3] = id, is_resend, fresh
end

local function append_one(room, own_id, content)
  local before = sent_before(room, own_id)
  if before then return answer(tonumber(before), 1, 0) end
  local id, fresh = add(room, { own_id, content }, window, 0)
  answer(id, 0, fresh + 1)
end

local function append(room, at, count)
  if count == 1 then return append_one(room, ARGV[at], ARGV[at + 1]) end
  local own_ids = {}
  for i = 1, count do own_ids[i] = ARGV[at + 2 * i - 2] end
  local before = redis.call('ZMSCORE', room_key(room, 'sent'), unpack(own_ids))
  -- `new_by` has the place among the new ones of each own id: the same may have come twice at once.
  local news, new_by = {}, {}
  for i, own_id in ipairs(own_ids) do
    if not before[i] and not new_by[own_id] then
      local k = #news
      news[k + 1], news[k + 2] = own_id, ARGV[at + 2 * i - 1]
      new_by[own_id] = k / 2 + 1
    end
  end
  local first, fresh = 0, 0
  if #news > 0 then first, fresh = add(room, news, window, 0) end
  local told = 0
  for i, own_id in ipairs(own_ids) do
    local new = new_by[own_id]
    if not new then
      answer(tonumber(before[i]), 1, 0)
    elseif new > told then
      answer(first + new - 1, 0, fresh + new)
      told = new
    else
      answer(first + new - 1, 1, 0)
    end
  end
end

local at = 2
while at <= #ARGV do
  local room, count = ARGV[at], tonumber(ARGV[at + 1])
  local kept, why = pcall(append, room, at + 2, count)
  if not kept then
    if type(why) == 'table' then why = why.err end
    for _ = 1, count do answer(why, 0, 0) end
  end
  at = at + 2 + 2 * count
end
return answers
