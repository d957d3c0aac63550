-- Append a message to its room's log and publish it, in one step; a resend gets the first one's id.
-- KEYS 1 namespace
-- ARGV 1 room, 2 `<sender> <client id>`, 3 content (JSON), 4 how long a resend is recognised, ms
-- Returns { id, 1 if it is a resend, messages since the last flush was asked for }
local room, own_id, content, window = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local meta, log, sent = room_key(room, 'meta'), room_key(room, 'log'), room_key(room, 'sent')

local first = redis.call('ZSCORE', sent, own_id)
if first then return { integer(first), 1, 0 } end

local m = redis.call('HMGET', meta, 'top', 'resting')
local top = tonumber(m[1] or 0)
local id = math.max(now_us, top + 1)
local entry = integer(id) .. ' ' .. integer(top) .. ' ' .. content
-- First what needs memory: Redis refuses a script for want of it only before its first write.
redis.call('ZADD', log, integer(id), entry)
if not m[1] or m[2] then wake(room) end
redis.call('HSET', meta, 'top', integer(id))
redis.call('ZADD', dirty, 'NX', integer(now_ms), room)
redis.call('ZADD', sent, integer(id), own_id)
local fresh = redis.call('HINCRBY', meta, 'fresh', 1)
if fresh % 64 == 1 then redis.call('ZREMRANGEBYSCORE', sent, '-inf', integer(now_us - window * 1000)) end
redis.call('PEXPIRE', sent, window)
tell(room, 'm ' .. entry)
return { integer(id), 0, fresh }
