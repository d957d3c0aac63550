-- Ask for a flush or a rehydration of a room, unless it is not needed or under way: the ask and the job are
-- one step, so that nobody is kept from asking by a process that died in between.
-- KEYS 1 namespace
-- ARGV 1 room, 2 'flushing' or 'hydrating', 3 how long to keep others from asking, ms, 4 queue, 5 body,
--      6 1 if a flush that is under way is to be followed by another
-- Returns 1 if the job was enqueued, or the error DRAINING.
local room, what, again_ms, queue = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local asked = room_key(room, what)
if what == 'flushing' and not redis.call('ZSCORE', dirty, room) then return 0 end
if what == 'hydrating' and redis.call('HEXISTS', room_key(room, 'meta'), 'hydrated_from') == 1 then return 0 end
if redis.call('EXISTS', asked) == 1 then
  -- Not SET, which would need the time that is left; what lies behind the plus is not read.
  if ARGV[6] == '1' and redis.call('GET', asked) == '1' then redis.call('APPEND', asked, '+') end
  return 0
end
if redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return refuse_draining(queue) end
redis.call('SET', asked, 1, 'PX', again_ms)
if what == 'flushing' then redis.call('HSET', room_key(room, 'meta'), 'fresh', 0) end
push_new(queue, { ARGV[5] })
return 1
