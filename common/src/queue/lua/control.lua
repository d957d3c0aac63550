-- Pause, drain or resume a queue. It stays so until somebody resumes it, whoever starts or stops.
-- KEYS 1 namespace     ARGV 1 'pause', 'drain' or 'resume', 2 queue, 3 by whom (JSON text)
-- Returns 1 if that changed anything.
local action, queue = ARGV[1], ARGV[2]
local changed
if action == 'resume' then
  changed = redis.call('HDEL', ns .. 'paused', queue) + redis.call('HDEL', ns .. 'draining', queue)
else
  local key = action == 'pause' and 'paused' or 'draining'
  local entry = '{"since_ms":' .. integer(now_ms) .. ',"by":' .. ARGV[3] .. '}'
  changed = redis.call('HSETNX', ns .. key, queue, entry)
end
ring('beat')
ring('look') -- a queue that drained leaves its inbox alone until it is resumed
return math.min(changed, 1)
