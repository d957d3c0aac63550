-- Make one job waiting that has no lane, at the back of its queue. By itself, because half of the time of enqueue.lua
-- would go into making what one job does not need.
-- KEYS 1 namespace     ARGV 1 queue, 2 1 if the body begins with its time already, else 0, 3 body
-- Returns { its id, now, ms }, or its id alone if the body began with its time, or the error DRAINING.
local queue, body, now_ms = ARGV[1], ARGV[3], false
if redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return refuse_draining(queue) end
if ARGV[2] == '0' then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  body = string.format('{"at":%d,', now_ms) .. string.sub(body, 2)
end
local number = string.format('%d', draw(queue, 'last', 1) + 1)
local kind = queue .. '-'
local id = kind .. number
redis.call('HSET', bucket_at(kind, number), id, body)
redis.pcall('LPUSH', ns .. 'queue:' .. queue, id) -- an audit finds what has taken the list's place
redis.call('HINCRBY', stats, 'enqueued:' .. queue, '1')
return now_ms and { id, now_ms } or id
