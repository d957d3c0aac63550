-- A room's log is complete from an id on: it is warm.
-- KEYS 1 namespace
-- ARGV 1 room, 2 the id (0: the log reaches back to the room's first message), 3 newest archived id,
--      4 how many entries were restored at least, 5 mark of the rehydration, 6 time to live of a clean room, ms
-- Returns 1, or 0 if something went since the master read the archive: then the room is still cold.
local room, from, newest, restored, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
redis.call('DEL', room_key(room, 'hydrating'))
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from', 'mark', 'born')
if m[3] then return 1 end

-- The meta went, and messages may have come, been flushed and gone with it.
if m[4] ~= ARGV[5] then return 0 end
-- The log went. What it had and the archive has not is lost; so the next message's `prev` is not known.
local top, newest_here = math.max(newest, tonumber(m[1] or 0)), newest_of(log)
if redis.call('ZCOUNT', log, integer(from), integer(newest)) < restored or newest_here < top then
  redis.call('HDEL', meta, 'mark', 'top')
  return 0
end
-- Where the meta went and the log stayed, the log knows of messages that are in no archive yet.
top = newest_here

-- Children of a flush end in any order: what is right below the window may be in the log alone. Nothing that is
-- unflushed leaves a log, nor, while it is cold, anything that was appended to it; unless somebody deleted it.
if is_dirty(room) then
  local watermark, born = tonumber(m[2] or 0), m[5]
  local first = redis.call('ZRANGEBYSCORE', log, '(' .. integer(watermark), '+inf', 'LIMIT', 0, 1)[1] or ''
  local prev = tonumber(string.match(first, '^%d+ (%d+)'))
  if watermark > 0 and prev and prev <= watermark then
    from = math.min(from, watermark + 1)
  elseif born and redis.call('ZCOUNT', log, born, born) == 1 then
    from = math.min(from, tonumber(born))
  end
end

redis.call('HSET', meta, 'hydrated_from', integer(from), 'top', integer(top))
redis.call('HDEL', meta, 'mark')
-- What is unflushed stays above the watermark, whatever the clocks of two Redis servers did.
if not redis.call('ZSCORE', dirty, room) then
  redis.call('HSET', meta, 'watermark', integer(math.max(newest, tonumber(m[2] or 0))))
end
rest(room, ttl)
tell(room, 'h')
return 1
