-- A cold room's newest archived message is known: what comes next follows that one.
-- KEYS 1 namespace     ARGV 1 room, 2 newest archived id, 3 mark of the rehydration
-- Returns 1, or 0 if something went since the archive was read, or a newer message came.
local meta, newest = room_key(ARGV[1], 'meta'), tonumber(ARGV[2])
if redis.call('HGET', meta, 'mark') ~= ARGV[3] then return 0 end
-- Where the meta went and the log stayed, the log knows of messages that are in no archive yet.
local top = math.max(newest, newest_of(room_key(ARGV[1], 'log')))
local is_new = redis.call('HSETNX', meta, 'top', integer(top))
-- What is in the archive is not new: the room is clean, as `hydrated.lua` has it.
if is_new == 1 and not redis.call('ZSCORE', dirty, ARGV[1]) then redis.call('HSETNX', meta, 'watermark', ARGV[2]) end
return is_new
