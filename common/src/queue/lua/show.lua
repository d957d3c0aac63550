-- All that is known of some jobs.
-- KEYS 1 namespace     ARGV 1... ids
-- Returns for each { now, ms, body or '', attempts and deaths or '', { places }, { history entries },
--           { worker, lease, ms at which its heartbeat ends, what it told of itself } or {},
--           due time or '', time of burial or '', jobs before it or -1,
--           { its progress or '', what is kept of its end or '', time of parking or '' },
--           the highest number given out to ids of its queue: pushed, unlisted }
local function look(id)
  local queue = queue_of(id)
  local places = places_of(id)
  local body = body_of(id)
  -- Who holds it costs as much as all workers hold: asked only of what is nowhere else. (The audit finds what is in
  -- two places.)
  local holder = {}
  if #places == 0 and body ~= '' then
    local worker, lease = holder_of(id)
    if worker then
      places[1] = 'claimed'
      holder = { worker, lease, redis.call('ZSCORE', workers, worker) or '',
        redis.call('HGET', ns .. 'workers:info', worker) or '' }
    end
  end
  -- How many are before it: exact while ids stand in the list in the order of their numbers, and a little
  -- too many when some of them were discarded.
  local ahead = -1
  local number = fresh_number(mark_of(queue), id)
  if number then
    local tail = on_list('LINDEX', queue, -1)
    ahead = number - (tail and fresh_number(mark_of(queue), tail) or mark_of(queue).cursor + 1)
  end
  return { now_ms, body, tries_of(id), places,
    redis.call('LRANGE', ns .. 'history:' .. id, 0, -1), holder,
    redis.call('ZSCORE', scheduled, id) or '', redis.call('ZSCORE', dead, id) or '', math.max(ahead, -1),
    { redis.call('GET', ns .. 'progress:' .. id) or '', redis.call('GET', ns .. 'result:' .. id) or '', parked_at(id) or '' },
    mark_of(queue).last, tonumber(redis.call('HGET', ns .. 'mark:' .. queue, 'later') or 0) }
end

local replies = {}
for n, id in ipairs(ARGV) do replies[n] = look(id) end
return replies
