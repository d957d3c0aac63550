-- Take a worker off the list, if it holds nothing.
-- KEYS 1 namespace     ARGV 1 worker
-- Returns how many jobs it still holds (0: it is off the list).
local held = #held_by(ARGV[1]) / 2
if held == 0 then
  pending_cancels(ARGV[1])
  redis.call('ZREM', workers, ARGV[1])
  redis.call('HDEL', ns .. 'workers:info', ARGV[1])
  if redis.call('EXISTS', workers) == 0 then redis.call('DEL', ns .. 'looked') end
end
return held
