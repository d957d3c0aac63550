-- Edits that a later change has replaced lose their text.
-- KEYS 1 namespace     ARGV 1 room, then pairs: id of the edit, id of the change that has replaced it
-- Returns how many lost it.
local log, count = room_key(ARGV[1], 'log'), 0
for i = 2, #ARGV, 2 do
  local entry = entry_at(log, ARGV[i])
  if entry and edited_at(entry) < tonumber(ARGV[i + 1]) then
    replace(log, entry, amended(entry, ARGV[i + 1]))
    count = count + 1
  end
end
return count
