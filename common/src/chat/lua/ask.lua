-- Ask for a flush or a rehydration of a room, unless it is not needed or under way: the ask and the job are
-- one step, so that nobody is kept from asking by a process that died in between.
-- KEYS 1 namespace
-- ARGV 1 room, 2 'flushing' or 'hydrating', 3 how long to keep others from asking, ms, 4 body,
--      5 1 if a flush that is under way is to be followed by another
-- Returns { 1, id of the job }, { 0, nil } if there is nothing to do, { 2, nil } if it is under way, or the error DRAINING.
local room, what, again_ms = ARGV[1], ARGV[2], ARGV[3]
local asked, queue = room_key(room, what), queue_of(room)
if what == 'flushing' then
  if not is_dirty(room) then return { 0, false } end
  redis.call('ZADD', dirty, 'NX', integer(now_ms), room)
end
if what == 'hydrating' and redis.call('HEXISTS', room_key(room, 'meta'), 'hydrated_from') == 1 then return { 0, false } end
local before = redis.call('GET', asked)
-- One that was asked for before the room became premium may wait behind all others'. A second one does not, and
-- does no harm.
local waits_elsewhere = before and queue == 'high' and string.sub(before, 1, 4) ~= 'high'
if before and not waits_elsewhere then
  -- Not SET, which would need the time that is left; what lies behind the plus is not read.
  if ARGV[5] == '1' and string.sub(before, -1) ~= '+' then redis.call('APPEND', asked, '+') end
  return { 2, false }
end
if redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return refuse_draining(queue) end
redis.call('SET', asked, queue, 'PX', again_ms)
if what == 'flushing' then redis.call('HSET', room_key(room, 'meta'), 'fresh', 0) end
return { 1, push_new(queue, { ARGV[4] })[1] }
