-- Append a message to its room's log and publish it, in one step; a resend gets the first one's id.
-- KEYS 1 namespace
-- ARGV 1 room, 2 `<sender> <client id>`, 3 content (JSON), 4 how long a resend is recognised, ms
-- Returns { id, 1 if it is a resend, messages since the last flush was asked for }
local room, own_id, content, window = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local first = sent_before(room, own_id)
if first then return { integer(first), 1, 0 } end
local id, fresh = add(room, own_id, content, window, 0)
return { integer(id), 0, fresh }
