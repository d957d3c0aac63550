-- Everything up to an id is in the archive: raise the watermark, trim the log, let a clean room rest.
-- KEYS 1 namespace
-- ARGV 1 room, 2 id, 3 hot window, 4 time to live of a clean room, ms
-- Returns how many messages are above the watermark.
local room, to, window, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
redis.call('DEL', room_key(room, 'flushing'))

local newest = newest_of(log)
if newest == 0 then
  tell(room, 'w ' .. integer(to))
  redis.call('ZREM', dirty, room)
  rest(room, ttl)
  return 0
end
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from')
local watermark = math.max(to, tonumber(m[2] or 0))
redis.call('HSET', meta, 'watermark', integer(watermark))
if not m[1] then redis.call('HSET', meta, 'top', integer(newest)) end
tell(room, 'w ' .. integer(watermark))
-- The archive shows these changes now. In a cold room somebody may still bring back what it had before.
if m[3] then redis.call('ZREMRANGEBYSCORE', room_key(room, 'changed'), '-inf', integer(watermark)) end

-- Trim only a log that is known to be complete: in a half-filled one it would hide a hole.
if m[3] then
  local last_cold = redis.call('ZRANGE', log, -window - 1, -window - 1, 'WITHSCORES')[2]
  if last_cold then
    local upto = math.min(tonumber(last_cold), watermark)
    if redis.call('ZREMRANGEBYSCORE', log, '-inf', integer(upto)) > 0 then
      -- Never lowered: what a late child of a rehydration puts below it is not complete.
      local oldest = tonumber(redis.call('ZRANGE', log, 0, 0, 'WITHSCORES')[2] or upto + 1)
      redis.call('HSET', meta, 'hydrated_from', integer(math.max(oldest, tonumber(m[3]))))
    end
  end
end

local first = redis.call('ZRANGEBYSCORE', log, '(' .. integer(watermark), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if first[1] then
  redis.call('ZADD', dirty, integer(math.floor(tonumber(first[2]) / 1000)), room)
  local fresh = redis.call('ZCOUNT', log, '(' .. integer(watermark), '+inf')
  redis.call('HSET', meta, 'fresh', fresh)
  return fresh
end
redis.call('ZREM', dirty, room)
redis.call('HSET', meta, 'fresh', 0)
rest(room, ttl)
return 0
