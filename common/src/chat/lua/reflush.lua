-- Distrust what Redis believes of the archive: what a room's log holds counts as new again and is flushed once more.
-- KEYS 1 namespace     ARGV 1 room
-- Returns { messages that are new now, the id up to which there are pieces below them (0 if there are none) }
local room = ARGV[1]
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
local newest = newest_of(log)
if newest == 0 then return { 0, 0 } end
local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from', 'born', 'mark')
local watermark, from, born = tonumber(m[2] or 0), tonumber(m[3] or nil), tonumber(m[4] or nil)
-- A rehydration that is under way has read the archive as it was.
redis.call('HDEL', meta, 'mark')

-- From here on the log has everything: a warm one as it says, a cold one from the first entry that was appended to it.
local whole_from = watermark + 1
if from and newest == tonumber(m[1] or 0) then
  whole_from = from
elseif born and redis.call('ZCOUNT', log, born, born) == 1 then
  whole_from = born
elseif m[5] then
  -- Nothing was appended: all are pieces of a rehydration, and are kept for long enough to be archived.
  local week = 7 * 24 * 3600 * 1000
  redis.call('HDEL', meta, 'resting') -- or whoever comes would have it expire as soon as ever
  redis.call('PEXPIRE', log, week)
  redis.call('PEXPIRE', meta, week)
  return { 0, integer(newest) }
end

-- Lower than before by one at least: so a flush that is under way is seen to have begun before this.
watermark = math.min(watermark, whole_from) - 1
redis.call('HSET', meta, 'watermark', integer(watermark), 'top', integer(math.max(newest, tonumber(m[1] or 0))))
redis.call('ZADD', dirty, 'NX', integer(now_ms), room)
wake(room)
local pieces = redis.call('ZREVRANGEBYSCORE', log, integer(watermark), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
return { redis.call('ZCOUNT', log, '(' .. integer(watermark), '+inf'), integer(tonumber(pieces or 0)) }
