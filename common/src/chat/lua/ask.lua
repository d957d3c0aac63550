-- Ask for a flush or a rehydration of a room, unless it is not needed or under way.
-- KEYS 1 namespace     ARGV 1 room, 2 'flushing' or 'hydrating', 3 how long to keep others from asking, ms
-- Returns 1 if the caller is to enqueue the job.
local room, what = ARGV[1], ARGV[2]
if what == 'flushing' then
  if not is_dirty(room) then return 0 end
  redis.call('ZADD', dirty, 'NX', integer(now_ms), room)
end
if what == 'hydrating' and redis.call('HEXISTS', room_key(room, 'meta'), 'hydrated_from') == 1 then return 0 end
if not redis.call('SET', room_key(room, what), 1, 'NX', 'PX', ARGV[3]) then return 0 end
if what == 'flushing' then redis.call('HSET', room_key(room, 'meta'), 'fresh', 0) end
return 1
