-- Pause, resume or forget a periodic task.
-- KEYS 1 namespace     ARGV 1 name, 2 'pause', 'resume' or 'forget', 3 ms since which nobody has vouched for
--                           what may be forgotten
-- Returns 'done', 'unknown', 'already' (it is so) or 'in use' (a worker vouched for it)
local name, change, patience = ARGV[1], ARGV[2], tonumber(ARGV[3])
local key = ns .. 'periodic:' .. name
local vouched = redis.call('ZSCORE', ns .. 'periodic', name)
if not vouched then return 'unknown' end
if change == 'pause' then return redis.call('HSET', key, 'paused', 1) == 1 and 'done' or 'already' end
if change == 'resume' then return redis.call('HDEL', key, 'paused') == 1 and 'done' or 'already' end
if tonumber(vouched) + patience >= now_ms then return 'in use' end
redis.call('ZREM', ns .. 'periodic', name)
redis.call('DEL', key)
return 'done'
