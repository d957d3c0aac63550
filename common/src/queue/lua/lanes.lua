
-- Lanes: at most so many jobs of a kind at once, and at most so many in a time (docs/limits.md,
-- docs/decisions/0014). Stands below lib.lua in every script but that which makes jobs without lanes.
--
-- A job of a lane waits in `lane:<lane>`, first in, first out, until it is *let go*: it takes a slot and is
-- listed at the back of its queue, as any other job. It gives the slot up when it comes to its end, or is to
-- wait for another attempt; then the next one is let go. A lane without jobs in line or in slots has no key.
-- A body tells its lane at its head: "lane":"<limits>;<lane>", limits `<width>` or
-- `<width> <jobs>/<ms>+<burst>`; `lanes:limits` holds those that came last.
local lanes, lane_jobs, lane_limits = ns .. 'lanes', ns .. 'lanes:jobs', ns .. 'lanes:limits'
local in_line, unique = ns .. 'lanes:waiting', ns .. 'unique'
local AT_ONCE = 20 -- slots that care looks at in one lane

-- The limits and the name of the lane that a body tells; nil if it tells none.
local function lane_in(body)
  local text = string.match(body, '^{[atdue%d":,]*"lane":"([^"]*)"')
  return string.match(text or '', '^([^;]*);(.+)$')
end

-- The lane of a job, whatever its place; nil if it has none. One question tells if there are lanes at all.
local are_lanes
local function lane_of(id)
  if are_lanes == nil then are_lanes = redis.call('EXISTS', lane_jobs) == 1 end
  return are_lanes and redis.call('HGET', lane_jobs, id) or nil
end

local function count_in_line(n)
  if redis.call('INCRBY', in_line, n) <= 0 then redis.call('DEL', in_line) end
end

-- Puts a job at the end of a lane's line. The caller then lets go what may.
local function join_lane(id, lane)
  local line = ns .. 'lane:' .. lane
  local last = redis.call('ZREVRANGE', line, 0, 0, 'WITHSCORES')[2]
  count_in_line(redis.call('ZADD', line, 'NX', integer((last or 0) + 1), id))
end

-- Takes a job out of a lane's line; returns 1 if it was there.
local function leave_line(id, lane)
  local was_there = redis.call('ZREM', ns .. 'lane:' .. lane, id)
  if was_there == 1 then count_in_line(-1) end
  return was_there
end

-- Lets go what a lane's limits allow now. The rate is a bucket of `burst` tokens that fills by Redis's clock;
-- `pace:<lane>` tells when it was, or will be, full but for one: it says all and expires by itself.
function let_go(lane)
  local line, slots, pace = ns .. 'lane:' .. lane, ns .. 'slots:' .. lane, ns .. 'pace:' .. lane
  local id = redis.call('ZRANGE', line, 0, 0)[1]
  local look = 'inf' -- when care is to come for this lane
  if id then
    local limits = redis.call('HGET', lane_limits, lane)
    if not limits then
      limits = lane_in(redis.call('HGET', jobs, id) or '') or '1'
      redis.call('HSET', lane_limits, lane, limits)
    end
    local width, jobs_per, ms, burst = string.match(limits, '^(%d+) ?(%d*)/?(%d*)%+?(%d*)$')
    local interval = tonumber(jobs_per) and ms * 1000 / jobs_per
    local slack = interval and (burst - 1) * interval
    local free = tonumber(width or 1) - redis.call('SCARD', slots)
    local ready, most = now_us, now_us
    if interval then
      ready, most = math.max(now_us, tonumber(redis.call('GET', pace) or 0)), now_us + slack + interval
    end
    local gone, changed = 0, ready > most -- the limits were other ones, or the clock was set back
    ready = math.min(ready, most)
    while id and free > 0 do
      if interval and ready - slack > now_us then
        look = math.ceil((ready - slack) / 1000)
        break
      elseif gone == CHUNK then
        look = now_ms
        break
      end
      redis.call('ZREM', line, id)
      gone = gone + 1
      if redis.call('HEXISTS', jobs, id) == 1 then
        redis.call('SADD', slots, id)
        push_back(id)
        free = free - 1
        if interval then ready, changed = ready + interval, true end
      end
      id = redis.call('ZRANGE', line, 0, 0)[1]
    end
    if gone > 0 then count_in_line(-gone) end
    if changed then
      redis.call('SET', pace, integer(ready), 'PX', math.max(1, math.ceil((ready - now_us) / 1000)))
    end
  end
  if not id and redis.call('EXISTS', slots) == 0 then
    redis.call('ZREM', lanes, lane)
    redis.call('HDEL', lane_limits, lane)
  elseif redis.call('ZADD', lanes, 'CH', look, lane) == 1 and look ~= 'inf' and
    redis.call('ZRANK', lanes, lane) == 0 then
    ring('look')
  end
end

-- Remembers the lane of a new job.
function set_lane(id, body)
  local _, lane = lane_in(body)
  if not lane then return end
  redis.call('HSET', lane_jobs, id, lane)
  are_lanes = true
end

-- Pushes new jobs of which some have lanes; returns their ids, in the order of the bodies.
function push_laned(queue, bodies)
  local ids, plain, plain_at, joined, seen = {}, {}, {}, {}, {}
  for i, body in ipairs(bodies) do
    local limits, lane = lane_in(body)
    if lane then
      ids[i] = make_unlisted(queue, body)
      join_lane(ids[i], lane)
      redis.call('HSET', lane_limits, lane, limits)
      if not seen[lane] then joined[#joined + 1], seen[lane] = lane, true end
    else
      plain[#plain + 1], plain_at[#plain + 1] = body, i
    end
  end
  for i, id in ipairs(push_plain(queue, plain)) do ids[plain_at[i]] = id end
  for _, lane in ipairs(joined) do let_go(lane) end
  return ids
end

-- Has a job wait: at the end of its lane, if it has one, else at the back of its queue.
local function wait_in_line(id)
  local lane = lane_of(id)
  if not lane then return push_back(id) end
  join_lane(id, lane)
  let_go(lane)
end

-- A job gives its slot up.
function leave_lane(id, lane)
  redis.call('SREM', ns .. 'slots:' .. lane, id)
  let_go(lane)
end

-- A job is gone for good.
function forget_lane(id) redis.call('HDEL', lane_jobs, id) end

-- A unique job gives its key up, unless another one has it by now.
function release(id, key)
  if redis.call('HGET', unique, key) == id then redis.call('HDEL', unique, key) end
end

-- Frees slots of jobs that are not under way, as far as they can be told cheaply.
local function check_slots(lane)
  local slots = ns .. 'slots:' .. lane
  local some = redis.call('SRANDMEMBER', slots, AT_ONCE)
  local due = #some > 0 and redis.call('ZMSCORE', scheduled, unpack(some))
  local buried = #some > 0 and redis.call('ZMSCORE', dead, unpack(some))
  for i, id in ipairs(some) do
    if due[i] or buried[i] or redis.call('HEXISTS', jobs, id) == 0 then redis.call('SREM', slots, id) end
  end
  let_go(lane)
end
