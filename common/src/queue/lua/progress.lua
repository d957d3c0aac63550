-- Keep and tell how far a running job is.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 id, 3 its lease, 4 what it tells (JSON), 5 how long to keep it, ms
-- Returns 1, or -1 if the claim is no longer this worker's.
local worker, id, lease, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not holds(worker, id, lease) then return -1 end
redis.call('SET', ns .. 'progress:' .. id, value, 'PX', ARGV[5])
redis.call('PUBLISH', ns .. 'job:' .. id, '{"progress":' .. value .. '}')
return 1
