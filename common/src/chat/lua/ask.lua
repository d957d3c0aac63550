-- Ask for a flush or a rehydration of a room, unless it is not needed or under way.
-- KEYS 1 namespace     ARGV 1 room, 2 'flushing' or 'hydrating', 3 how long to keep others from asking, ms
-- Returns the queue to enqueue the job to, or nil if none is to be enqueued.
local room, what = ARGV[1], ARGV[2]
if what == 'flushing' and not redis.call('ZSCORE', dirty, room) then return nil end
if what == 'hydrating' and redis.call('HEXISTS', room_key(room, 'meta'), 'hydrated_from') == 1 then return nil end
local premium_until = tonumber(redis.call('ZSCORE', ns .. 'premium', room) or 0)
local queue = premium_until > now_ms and 'high' or 'default'
local asked = room_key(room, what)
if not redis.call('SET', asked, queue, 'NX', 'PX', ARGV[3]) then
  -- One that was asked for before the room became premium may wait behind all others': a second one does not,
  -- and does no harm.
  if queue == 'default' or redis.call('GET', asked) == 'high' then return nil end
  redis.call('SET', asked, queue, 'PX', ARGV[3])
end
if what == 'flushing' then redis.call('HSET', room_key(room, 'meta'), 'fresh', 0) end
return queue
