-- Enqueue a periodic task for its ticks, unless another worker did.
-- KEYS 1 namespace
-- ARGV 1 name, 2 definition (JSON), 3 the last tick that the caller knows, ms, 4 the latest that is due, ms
--      5 queue, 6 'allow' or 'skip' (if the job before is not settled), 7.. bodies, one for each tick that
--      is to run; none: the ticks are passed over
-- Returns { 'enqueued' | 'passed' (over) | 'early' (it is not due by Redis's clock) | 'draining' (the queue takes
--           no new jobs: the tick is due until it does) | 'other' (another definition holds, or another worker was
--           quicker), last tick or '', { ids } }
local name, definition, known, latest, queue, overlap = unpack(ARGV, 1, 6)
local key = ns .. 'periodic:' .. name
local entry = redis.call('HMGET', key, 'definition', 'last', 'paused', 'job')
if entry[1] ~= definition then return { 'other', '', {} } end
if entry[2] ~= known then return { 'other', entry[2] or '', {} } end
if tonumber(latest) > now_ms then return { 'early', known, {} } end

local before = entry[4]
local overlaps = overlap == 'skip' and before
  and has_body(before) and not redis.call('ZSCORE', dead, before)
local passes = entry[3] or overlaps or not ARGV[7]
if not passes and redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return { 'draining', known, {} } end

redis.call('HSET', key, 'last', latest)
if passes then
  redis.call('HINCRBY', key, 'passed', 1)
  return { 'passed', latest, {} }
end
local bodies = {}
for arg = 7, #ARGV do bodies[#bodies + 1] = ARGV[arg] end
local ids = push_new(queue, bodies)
redis.call('HSET', key, 'job', ids[#ids])
redis.call('HINCRBY', key, 'enqueued', #ids)
return { 'enqueued', latest, ids }
