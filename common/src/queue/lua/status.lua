-- The queues at a glance. Costs the same at any depth; grows with the workers and what they run.
-- KEYS 1 namespace     ARGV queues
-- Returns { now, ms,
--           { queue, jobs that wait, length of its list or -1 (it is none), the oldest that waits or '',
--             its body's head, its last history entry, since when and by whom it is paused (JSON) or '',
--             the same of its draining, bodies in its inbox }...,
--           { jobs, scheduled, due time of the next or '', dead, { kind of parked jobs, how many, ... },
--             in the lines of lanes, lanes },
--           { total, value, ... },
--           { worker, ms at which its heartbeat ends, what it told of itself (JSON), jobs it holds }... }
local LOOK = 20 -- entries at the tail that may be leftovers (discarded, listed twice)
local KINDS = 100 -- of parked jobs
local HEAD = 64 -- of a body: its times

local queues = {}
for i, queue in ipairs(ARGV) do
  local tail = on_list('LRANGE', queue, -LOOK, -1) or {}
  local oldest
  for at = #tail, 1, -1 do
    if waits(tail[at]) and has_body(tail[at]) then
      oldest = tail[at]
      break
    end
  end
  queues[i] = { queue, waiting_in(queue), on_list('LLEN', queue) or -1, oldest or '',
    oldest and string.sub(body_of(oldest), 1, HEAD) or '', oldest and last_entry_of(oldest) or '',
    redis.call('HGET', ns .. 'paused', queue) or '', redis.call('HGET', ns .. 'draining', queue) or '',
    inbox_of(queue) }
end

local next_due = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2] or ''
local parked = {}
for _, kind in ipairs(redis.call('SRANDMEMBER', ns .. 'parked', KINDS)) do
  local n = #parked
  parked[n + 1], parked[n + 2] = kind, redis.call('ZCARD', ns .. 'parked:' .. kind)
end
local known = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
local beats = {}
for i = 1, #known, 2 do
  local worker = known[i]
  beats[#beats + 1] = { worker, known[i + 1], redis.call('HGET', ns .. 'workers:info', worker) or '',
    #held_by(worker) / 2 }
end
local totals = redis.call('HGETALL', stats)
return { now_ms, queues,
  { math.max(0, owed(totals)), redis.call('ZCARD', scheduled), next_due, redis.call('ZCARD', dead), parked,
    tonumber(redis.call('GET', ns .. 'lanes:waiting') or 0), redis.call('ZCARD', ns .. 'lanes') },
  totals, beats }
