-- A room's log is complete from an id on: it is warm.
-- KEYS 1 namespace
-- ARGV 1 room, 2 the id (0: the log reaches back to the room's first message), 3 newest archived id,
--      4 how many entries were restored at least, 5 time to live of a clean room, ms
-- Returns 1, or 0 if the log has fewer entries than were restored (its keys expired or were deleted
-- meanwhile): then it is still cold.
local room, from, newest, restored, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
redis.call('DEL', room_key(room, 'hydrating'))
if redis.call('ZCOUNT', log, integer(from), integer(newest)) < restored then return 0 end
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from')
if m[3] then return 1 end
redis.call('HSET', meta, 'hydrated_from', integer(from), 'top', integer(math.max(newest, tonumber(m[1] or 0))))
-- What is unflushed stays above the watermark, whatever the clocks of two Redis servers did.
if not redis.call('ZSCORE', dirty, room) then
  redis.call('HSET', meta, 'watermark', integer(math.max(newest, tonumber(m[2] or 0))))
end
rest(room, ttl)
tell(room, 'h')
return 1
