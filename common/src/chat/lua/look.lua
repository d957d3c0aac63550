-- Look at a room and leave it as it is: who asks is no member, and keeps nothing in Redis.
-- KEYS 1 namespace     ARGV 1 room
-- Returns { 1 if the log is known to be complete from some id on, else 0; the newest id that is known; members }
local room = ARGV[1]
local m = redis.call('HMGET', room_key(room, 'meta'), 'top', 'hydrated_from')
local top = tonumber(m[1] or 0)
-- As `open.lua` has it: a warm log ends with the newest message.
local warm = m[2] and newest_of(room_key(room, 'log')) == top
return { warm and 1 or 0, integer(top), members_of(room) }
