-- Make one job waiting that has no lane, at the back of its queue. By itself, because half of the time of enqueue.lua
-- would go into making what one job does not need.
-- KEYS 1 namespace     ARGV 1 queue, 2 body
-- Returns its id in a list, or the error DRAINING.
local queue = ARGV[1]
if redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return refuse_draining(queue) end
local time = redis.call('TIME')
local at = string.format('{"at":%d,', time[1] * 1000 + time[2] / 1000)
local number = draw(queue, 'last', 1) + 1
local id = string.format('%s-%d', queue, number)
redis.call('HSET', bucket_at(queue .. '-', number), id, at .. string.sub(ARGV[2], 2))
redis.pcall('LPUSH', ns .. 'queue:' .. queue, id) -- an audit finds what has taken the list's place
redis.call('HINCRBY', stats, 'enqueued:' .. queue, '1')
return { id }
