-- Edit or delete a message: append the change to the room's log, change the message where it lies, publish.
-- KEYS 1 namespace
-- ARGV 1 room, 2 `<sender> <client id>`, 3 content of the change (JSON), 4 how long a resend is recognised, ms,
--      5 how the content of what the sender wrote begins, 6 id of the message, 7 its new text (JSON), '' to delete it,
--      8 what the archive says of it: 'found', why it cannot be changed, or '' if it was not asked,
--      9 the last change of it that the archive knows, 0 if none
-- Returns { 'changed', id, 1 if it is a resend, messages since the last flush was asked for },
--         { why it cannot be changed, 0, 0, 0 }, or { 'unknown', 0, 0, 0 }: ask the archive, then call again
local room, own_id, content, window = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local by_sender, target, text, archived = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local meta, log, changed = room_key(room, 'meta'), room_key(room, 'log'), room_key(room, 'changed')
local deletion = text == ''
if deletion then text = '""' end

local first = sent_before(room, own_id)
if first then return { 'changed', integer(first), 1, 0 } end

local m = redis.call('HMGET', meta, 'top', 'hydrated_from', 'born', 'watermark')
local from, born, watermark = tonumber(m[2] or nil), tonumber(m[3] or nil), tonumber(m[4] or 0)
-- As `open.lua` has it: a warm log ends with the newest message.
if from and newest_of(log) ~= tonumber(m[1] or 0) then from = nil end

-- The log is to be believed where it is complete, and in a cold room from the first entry on that was appended to it.
-- Elsewhere there may be pieces, which a late child of a rehydration has put there.
local entry = entry_at(log, target)
local whole_from = from or born
local here = entry and whole_from and tonumber(target) >= whole_from

local function why_not()
  if edits(entry) or deletes(entry) then return 'not_a_message' end
  local at = string.find(entry, '{', 1, true)
  if string.sub(entry, at, at + #by_sender - 1) ~= by_sender then return 'not_author' end
  return is_deleted(entry) and 'deleted'
end

-- `last`: the change that the message shows.
local refused, last
if here or entry and archived == 'not_found' then
  refused, last = why_not(), edited_at(entry)
elseif from and tonumber(target) >= from then
  refused = 'not_found'
elseif archived == '' then
  refused = 'unknown'
elseif archived ~= 'found' then
  refused = archived
else
  -- The archive may not know the last one yet.
  local latest = redis.call('ZSCORE', changed, target)
  last = math.max(tonumber(ARGV[9]), tonumber(latest or 0))
  local change = latest and entry_at(log, latest)
  if change and deletes(change) then refused = 'deleted' end
end
if refused then return { refused, 0, 0, 0 } end

local first_id, fresh = add(room, { own_id, content }, window, math.max(last, tonumber(target)))
local id = integer(first_id)
if entry and not is_deleted(entry) then replace(log, entry, amended(entry, id, text, deletion)) end
-- An earlier edit loses its text, unless a flush has still to carry it out: this change may be lost with Redis.
local earlier = last > 0 and last <= watermark and entry_at(log, integer(last))
if earlier then replace(log, earlier, amended(earlier, id)) end
-- Until the archive shows it: whoever has read that before brings back what it had, and the log may be trimmed.
redis.call('ZADD', changed, id, target)
if last > 0 then redis.call('ZADD', changed, id, integer(last)) end
return { 'changed', id, 0, fresh + 1 }
