-- Everything up to an id is in the archive: raise the watermark, trim the log, let a clean room rest, and
-- have the room flushed again if enough is new, or if somebody asked for it while this flush was under way.
-- KEYS 1 namespace
-- ARGV 1 room, 2 id, 3 hot window, 4 time to live of a clean room, ms,
--      5 the change up to which the archive shows all changes of what is to go, 6 new messages that are enough,
--      7 how long an ask keeps others from asking, ms, 8 body of the next flush ('' for none),
--      9 the watermark when the flush began
-- Returns { messages above the watermark, 1 if another flush was enqueued }
local room, to, window, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local enough, again_ms, body = tonumber(ARGV[6]), ARGV[7], ARGV[8]
local meta, log, flushing = room_key(room, 'meta'), room_key(room, 'log'), room_key(room, 'flushing')
local changed = room_key(room, 'changed')
local queue, asked_again = queue_of(room), string.sub(redis.call('GET', flushing) or '', -1) == '+'
redis.call('DEL', flushing)

local newest = newest_of(log)
if newest == 0 then
  tell(room, 'w ' .. integer(to))
  redis.call('ZREM', dirty, room)
  -- What went with the log is not waited for.
  local top = redis.call('HGET', meta, 'top')
  if top then redis.call('HSET', meta, 'watermark', top) end
  rest(room, ttl)
  return { 0, 0 }
end
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from')
-- Lowered since: what was stored may have gone with the archive. The room is dirty, and flushed again.
if m[2] and tonumber(m[2]) < tonumber(ARGV[9]) then
  return { redis.call('ZCOUNT', log, '(' .. m[2], '+inf'), 0 }
end
local watermark = math.max(to, tonumber(m[2] or 0))
redis.call('HSET', meta, 'watermark', integer(watermark))
if not m[1] then redis.call('HSET', meta, 'top', integer(newest)) end
tell(room, 'w ' .. integer(watermark))
-- The archive shows these changes now. In a cold room somebody may still bring back what it had before.
if m[3] then redis.call('ZREMRANGEBYSCORE', changed, '-inf', integer(watermark)) end

-- Trim only a log that is known to be complete: in a half-filled one it would hide a hole.
if m[3] then
  local last_cold = redis.call('ZRANGE', log, -window - 1, -window - 1, 'WITHSCORES')[2]
  if last_cold then
    local upto = math.min(tonumber(last_cold), watermark)
    -- What was changed just now stays until the next flush: the archive has it as it was.
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', changed, '(' .. integer(math.max(ARGV[5], watermark)), '+inf')) do
      upto = math.min(upto, tonumber(id) - 1)
    end
    if redis.call('ZREMRANGEBYSCORE', log, '-inf', integer(upto)) > 0 then
      -- Never lowered: what a late child of a rehydration puts below it is not complete.
      local oldest = tonumber(redis.call('ZRANGE', log, 0, 0, 'WITHSCORES')[2] or upto + 1)
      redis.call('HSET', meta, 'hydrated_from', integer(math.max(oldest, tonumber(m[3]))))
    end
  end
end

local first = redis.call('ZRANGEBYSCORE', log, '(' .. integer(watermark), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if not first[1] then
  redis.call('ZREM', dirty, room)
  redis.call('HSET', meta, 'fresh', 0, 'watermark', integer(math.max(watermark, tonumber(m[1] or 0))))
  rest(room, ttl)
  return { 0, 0 }
end
redis.call('ZADD', dirty, integer(math.floor(tonumber(first[2]) / 1000)), room)
local fresh = redis.call('ZCOUNT', log, '(' .. integer(watermark), '+inf')
local drains = redis.call('HEXISTS', ns .. 'draining', queue) == 1
if body == '' or drains or not (asked_again or fresh >= enough) then
  redis.call('HSET', meta, 'fresh', fresh)
  return { fresh, 0 }
end
-- In the same step: a process that died before it asked would leave the rest to the sweep.
redis.call('HSET', meta, 'fresh', 0)
redis.call('SET', flushing, queue, 'PX', again_ms)
push_new(queue, { body })
return { fresh, 1 }
