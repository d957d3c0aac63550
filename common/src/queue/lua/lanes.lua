
-- Lanes: at most so many jobs of a kind at once, and at most so many in a time (docs/limits.md,
-- docs/decisions/0014). Stands below lib.lua in every script but those that make jobs without lanes.
--
-- A job of a lane waits in `lane:<lane>`, first in, first out, until it is *let go*: it takes a slot and is
-- listed at the back of its queue, as any other job. It gives the slot up when it comes to its end, or is to
-- wait for another attempt; then the next one is let go. A lane without jobs in line or in slots has no key.
-- A body tells its lane at its head: "lane":"<limits>;<lane>", limits `<width>` or
-- `<width> <jobs>/<ms>+<burst>`; `lanes:limits` holds those that came last.
--
-- The functions are made when the first of them is called: most calls of most scripts need none.
lanes = setmetatable({}, { __index = function(_, wanted)

local index, lane_jobs, lane_limits = ns .. 'lanes', ns .. 'lanes:jobs', ns .. 'lanes:limits'
local in_line = ns .. 'lanes:waiting'
local AT_ONCE = 20 -- slots that care looks at in one lane
local PATIENCE = 50 -- ms for which a rate gathers tokens, if its bucket is large enough

-- The limits and the name of the lane that a body tells; nil if it tells none.
function lanes.in_body(body)
  local text = string.match(body, '^{[atdue%d":,]*"lane":"([^"]*)"')
  return string.match(text or '', '^([^;]*);(.+)$')
end

-- The lane of a job, whatever its place; nil if it has none. One question tells if there are lanes at all.
local are_lanes
function lanes.of(id)
  if are_lanes == nil then are_lanes = redis.call('EXISTS', lane_jobs) == 1 end
  return are_lanes and redis.call('HGET', lane_jobs, id) or nil
end

local function count_in_line(n)
  if redis.call('INCRBY', in_line, n) <= 0 then redis.call('DEL', in_line) end
end

-- Puts jobs at the end of a lane's line. The caller then lets go what may.
function lanes.join(lane, ids)
  local line = ns .. 'lane:' .. lane
  local place = tonumber(redis.call('ZREVRANGE', line, 0, 0, 'WITHSCORES')[2] or 0)
  local entries = {}
  for i, id in ipairs(ids) do entries[2 * i - 1], entries[2 * i] = place + i, id end
  in_chunks(entries, function(...) count_in_line(redis.call('ZADD', line, 'NX', ...)) end)
  redis.call('ZADD', index, 'NX', 'inf', lane)
end

-- Takes a job out of a lane's line; returns 1 if it was there.
function lanes.leave_line(id, lane)
  local was_there = redis.call('ZREM', ns .. 'lane:' .. lane, id)
  if was_there == 1 then count_in_line(-1) end
  return was_there
end

-- Lists jobs at the back of their queues.
local function list_all(ids)
  local of_queue = { high = {}, default = {}, low = {} }
  for _, id in ipairs(ids) do table.insert(of_queue[queue_of(id)], id) end
  for queue, its in pairs(of_queue) do
    if #its > 0 then push_all_back(queue, its) end
  end
end

-- The limits of a lane: width, and for a rate the µs between two jobs, and how many µs a burst is ahead.
local function limits_of(lane)
  local limits = redis.call('HGET', lane_limits, lane)
  if not limits then
    -- It was empty meanwhile: those of its next job.
    local id = redis.call('ZRANGE', ns .. 'lane:' .. lane, 0, 0)[1]
    limits = id and lanes.in_body(body_of(id))
    if not limits then return 1 end
    redis.call('HSET', lane_limits, lane, limits)
  end
  local width, jobs_per, ms, burst = string.match(limits, '^(%d+) ?(%d*)/?(%d*)%+?(%d*)$')
  if not tonumber(burst) then return tonumber(width or 1) end
  local interval = ms * 1000 / jobs_per
  return tonumber(width), interval, (burst - 1) * interval
end

-- Has care come for a lane at a time, if it would not come before.
local function look_at(lane, at_us)
  local is_earlier = redis.call('ZADD', index, 'LT', 'CH', math.ceil(at_us / 1000), lane) == 1
  if is_earlier and not rawget(lanes, 'in_care') and redis.call('ZRANK', index, lane) == 0 then ring('look') end
end

-- Notes that a lane is to let go at the end of the script, when a job of it has given its slot up.
local deferred -- while a script ends many jobs
local function note_lane(lane, id)
  local freed = deferred.freed
  if not freed[lane] then table.insert(deferred.names, lane) freed[lane] = {} end
  if id then table.insert(freed[lane], id) end
end

-- Lets go what a lane's limits allow now. The rate is a bucket of `burst` tokens that fills by Redis's clock;
-- `pace:<lane>` tells when it will be full: it says all, and expires by itself.
function lanes.let_go(lane)
  if deferred then return note_lane(lane) end
  local line, slots, pace = ns .. 'lane:' .. lane, ns .. 'slots:' .. lane, ns .. 'pace:' .. lane
  local width, interval, slack = limits_of(lane)
  local free = math.max(0, width - redis.call('SCARD', slots))
  local n, full = math.min(free, CHUNK), now_us
  if interval and free > 0 then
    -- No later than an empty bucket would be, had the limits been the same and the clock not been set back.
    full = math.min(math.max(now_us, tonumber(redis.call('GET', pace) or 0)), now_us + slack + interval)
    n = math.min(n, math.max(0, math.floor((now_us + slack - full) / interval) + 1))
  end
  local gone = {}
  if n > 0 then
    local popped = redis.call('ZPOPMIN', line, n)
    for i = 1, #popped, 2 do gone[#gone + 1] = popped[i] end
  end
  if #gone > 0 then
    redis.call('SADD', slots, unpack(gone))
    list_all(gone)
    count_in_line(-#gone)
  elseif free > 0 and redis.call('EXISTS', line, slots) == 0 then
    redis.call('ZREM', index, lane)
    redis.call('HDEL', lane_limits, lane)
    return
  end
  if interval and free > 0 then
    full = full + #gone * interval
    if full > now_us then redis.call('SET', pace, integer(math.ceil(full)), 'PX', math.ceil((full - now_us) / 1000)) end
    -- Held up by its rate: care comes when there is a token, and if they come quickly, when there are some.
    if #gone == n and n < free and redis.call('EXISTS', line) == 1 then
      look_at(lane, math.max(full - slack, math.min(full, now_us + 1000 * PATIENCE)))
    end
  elseif #gone == CHUNK then
    look_at(lane, now_us)
  end
end

-- Remembers the lane of a new job.
function lanes.set(id, body)
  local _, lane = lanes.in_body(body)
  if not lane then return end
  redis.call('HSET', lane_jobs, id, lane)
  are_lanes = true
end

-- Makes new jobs of which some have lanes; returns their ids, in the order of the bodies.
function lanes.push(queue, bodies)
  local ids, plain, plain_at, laned, names, joining = {}, {}, {}, {}, {}, {}
  for i, body in ipairs(bodies) do
    local limits, lane = lanes.in_body(body)
    if lane then
      laned[#laned + 1] = i
      if not joining[lane] then names[#names + 1], joining[lane] = lane, {} end
      joining[lane].limits = limits
      table.insert(joining[lane], i)
    else
      plain[#plain + 1], plain_at[#plain + 1] = body, i
    end
  end
  for nth, id in ipairs(push_plain(queue, plain)) do ids[plain_at[nth]] = id end
  if #laned == 0 then return ids end

  local number, at, fields = draw(queue, 'later', #laned), stamp(), {}
  for nth, i in ipairs(laned) do
    ids[i] = queue .. '+' .. integer(number + nth)
    fields[2 * nth - 1], fields[2 * nth] = ids[i], at .. string.sub(bodies[i], 2)
  end
  store(queue .. '+', number, fields)
  count('enqueued:' .. queue, #laned)
  are_lanes = true
  for _, lane in ipairs(names) do
    local its, of_lane = joining[lane], {}
    for nth, i in ipairs(its) do
      its[nth], of_lane[2 * nth - 1], of_lane[2 * nth] = ids[i], ids[i], lane
    end
    in_chunks(of_lane, function(...) redis.call('HSET', lane_jobs, ...) end)
    redis.call('HSET', lane_limits, lane, its.limits)
    lanes.join(lane, its)
    lanes.let_go(lane)
  end
  return ids
end

-- A script that ends many jobs lets each of their lanes go once, when it has come to all ends.
function lanes.defer() deferred = { names = {}, freed = {}, forgotten = {} } end
function lanes.let_all_go()
  local all = deferred
  deferred = nil
  in_chunks(all.forgotten, function(...) redis.call('HDEL', lane_jobs, ...) end)
  for _, lane in ipairs(all.names) do
    in_chunks(all.freed[lane], function(...) redis.call('SREM', ns .. 'slots:' .. lane, ...) end)
    lanes.let_go(lane)
  end
end

-- A job gives its slot up.
function lanes.leave(id, lane)
  if deferred then return note_lane(lane, id) end
  redis.call('SREM', ns .. 'slots:' .. lane, id)
  lanes.let_go(lane)
end

-- Has a job wait: at the end of its lane, if it has one, else at the back of its queue.
function lanes.wait(id)
  local lane = lanes.of(id)
  if not lane then return push_back(id) end
  lanes.join(lane, { id })
  lanes.let_go(lane)
end

-- A job is gone for good.
function lanes.forget(id)
  if deferred then table.insert(deferred.forgotten, id) else redis.call('HDEL', lane_jobs, id) end
end

-- Frees slots of jobs that are not under way, as far as they can be told cheaply.
function lanes.check_slots(lane)
  redis.call('ZADD', index, 'NX', 'inf', lane)
  local slots = ns .. 'slots:' .. lane
  local some = redis.call('SRANDMEMBER', slots, AT_ONCE)
  local due = #some > 0 and redis.call('ZMSCORE', scheduled, unpack(some))
  local buried = #some > 0 and redis.call('ZMSCORE', dead, unpack(some))
  for i, id in ipairs(some) do
    if due[i] or buried[i] or not has_body(id) then redis.call('SREM', slots, id) end
  end
  lanes.let_go(lane)
end

return rawget(lanes, wanted)
end })
