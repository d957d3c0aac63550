-- Show that a worker lives, and tell it what was decided by hand.
-- KEYS 1 namespace     ARGV 1 worker, 2 time to live, ms, 3 what to tell of it (JSON);
--                             from 4 fields of the totals by task, and how much each has grown
-- Returns { 1 if it was known, 0 if it is new or had been given up; how many jobs it holds;
--           { id, lease, ... } of those that it is to cancel, { queues that are paused }, 1 if somebody follows }
local known = redis.call('ZSCORE', workers, ARGV[1])
redis.call('ZADD', workers, now_ms + tonumber(ARGV[2]), ARGV[1])
redis.call('HSET', ns .. 'workers:info', ARGV[1], ARGV[3])
-- pcall: what somebody has put there by hand must not end a beat.
for at = 4, #ARGV, 2 do
  redis.pcall('HINCRBY', ns .. 'tasks', ARGV[at], ARGV[at + 1])
end
return { known and 1 or 0, #held_by(ARGV[1]) / 2, pending_cancels(ARGV[1]),
  redis.call('HKEYS', ns .. 'paused'), redis.call('EXISTS', ns .. 'followed') }
