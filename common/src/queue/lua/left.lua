-- What is left of one queue. Costs the same at any depth; grows with what the workers run, and with
-- the kinds of parked jobs.
-- KEYS 1 namespace     ARGV 1 queue
-- Returns { jobs that wait, that are claimed, that are not settled in all, bodies in its inbox,
--           1 if it is paused, jobs that are parked }
local queue = ARGV[1]
local claimed = 0
for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
  local held = held_by(worker)
  for i = 1, #held, 2 do
    if queue_of(held[i]) == queue then claimed = claimed + 1 end
  end
end
local parked = 0
for _, kind in ipairs(redis.call('SMEMBERS', ns .. 'parked')) do
  if string.match(kind, '^%a+') == queue then parked = parked + redis.call('ZCARD', ns .. 'parked:' .. kind) end
end
local function total(what) return tonumber(redis.call('HGET', stats, what .. ':' .. queue) or 0) end
return { waiting_in(queue), claimed,
  total('enqueued') - total('completed') - total('discarded') - total('cancelled') - total('expired') - total('lost'), inbox_of(queue),
  redis.call('HEXISTS', ns .. 'paused', queue), parked }
