-- A room's log is complete from an id on: it is warm.
-- KEYS 1 namespace
-- ARGV 1 room, 2 the id (0: the log reaches back to the room's first message), 3 newest archived id,
--      4 how many entries were restored at least, 5 mark of the rehydration, 6 time to live of a clean room, ms
-- Returns 1, or 0 if something went since the master read the archive: then the room is still cold.
local room, from, newest, restored, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
redis.call('DEL', room_key(room, 'hydrating'))
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from', 'mark')
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

-- Children of a flush end in any order: what is right below the window may be in the log alone. The log is complete
-- as far down as each entry names the one before it.
if is_dirty(room) then
  local function prev_of(entry) return tonumber(string.match(entry or '', '^%d+ (%d+)') or 0) end
  local watermark = tonumber(m[2] or 0)
  local prev = prev_of(redis.call('ZRANGEBYSCORE', log, integer(from), '+inf', 'LIMIT', 0, 1)[1])
  local linked = from > 0
  while linked and prev > watermark do
    local older = redis.call('ZREVRANGEBYSCORE', log, integer(prev), '(' .. integer(watermark), 'WITHSCORES', 'LIMIT', 0, 500)
    linked = #older > 0
    for i = 1, #older, 2 do
      linked = tonumber(older[i + 1]) == prev
      if not linked then break end
      from, prev = prev, prev_of(older[i])
    end
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
