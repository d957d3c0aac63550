-- What keeps one job from running: where it stands in its list, its queue, the workers that serve it.
-- Costs the same at any depth; grows with the workers and, for a job that waits, with what they run.
-- KEYS 1 namespace     ARGV 1 id, 2 its lane or ''
-- Returns { now, ms, { 1 if it waits, 1 if it is listed, how many are before it },
--           since when and by whom its queue is paused (JSON) or '', the same of its draining, bodies in its inbox,
--           { worker, ms at which its heartbeat ends, what it told of itself (JSON), jobs it holds: high, default, low
--             (none told if the job does not wait) }...,
--           { some that hold slots of its lane } }
local LOOK = 20 -- entries at the tail that may be leftovers (discarded, listed twice)
local SOME = 5

local id, lane = ARGV[1], ARGV[2]
local queue = queue_of(id)
local mark, loose = mark_of(queue), ns .. 'loose:' .. queue
local function place_of(one) return fresh_number(mark, one) or tonumber(redis.call('ZSCORE', loose, one) or nil) end

-- Everything in a list comes after its tail; what waits and comes before that was popped, or its list is gone.
local place, listed, ahead = place_of(id), 0, 0
if place then
  local tail = on_list('LRANGE', queue, -LOOK, -1) or {}
  local first = #tail == LOOK and mark.cursor + 1 or nil -- nothing but leftovers
  for at = #tail, 1, -1 do
    local order = place_of(tail[at])
    if order then
      first = order
      break
    end
  end
  if first and place >= first then
    listed = 1
    local fresh = math.min(mark.last, math.ceil(place) - 1) - math.max(mark.cursor, math.ceil(first) - 1)
    ahead = math.max(0, fresh)
      + redis.call('ZCOUNT', loose, string.format('%.17g', first), string.format('(%.17g', place))
  end
end

local known = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
local serving = {}
for i = 1, #known, 2 do
  local worker, holds = known[i], { high = 0, default = 0, low = 0 }
  local held = place and held_by(worker) or {} -- what does not wait needs no slot
  for at = 1, #held, 2 do
    local of = queue_of(held[at])
    holds[of] = (holds[of] or 0) + 1
  end
  serving[#serving + 1] = { worker, known[i + 1], redis.call('HGET', ns .. 'workers:info', worker) or '',
    holds.high, holds.default, holds.low }
end
return { now_ms, { place and 1 or 0, listed, ahead },
  redis.call('HGET', ns .. 'paused', queue) or '', redis.call('HGET', ns .. 'draining', queue) or '', inbox_of(queue),
  serving, lane ~= '' and redis.call('SRANDMEMBER', ns .. 'slots:' .. lane, SOME) or {} }
