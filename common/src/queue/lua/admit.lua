-- Make jobs of which some are unique: a job that is here already is not made again.
-- KEYS 1 namespace     ARGV 1 queue, 2 'now', 'in' or 'at', 3 ms (from now, or since 1970)
--                      then for each job: how it is unique, key, ms, ms at most, body:
--   ''        it is not
--   done      as long as a job with the key has not come to its end; `started`: has not been started
--   once      as long as so many ms have not passed since the first, whatever has become of it
--   debounce  the same as `started`, but a second one replaces the first: it is due so many ms from now, and at
--             most so many ms after the first was made
-- Returns { id, 1 if it was here already, ... }, in the order of the bodies; or the error DRAINING.
local queue, due = ARGV[1], tonumber(ARGV[3])
if redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return refuse_draining(queue) end
if ARGV[2] == 'in' then due = now_ms + due end

local function make(body, at)
  if not at then return push_new(queue, { body })[1] end
  local id = make_unlisted(queue, body, at)
  schedule(id, at)
  return id
end

-- The second arguments may ask for another lane.
local function change_lane(id, body, before, waits_for_time)
  local limits, lane = lanes.in_body(body)
  if lane == before then return end
  if before then redis.call('HDEL', ns .. 'lanes:jobs', id) end
  if lane then lanes.set(id, body) end
  if waits_for_time then return end
  redis.call('ZREM', ns .. 'loose:' .. queue_of(id), id) -- its entry in the list is passed over
  if before then lanes.leave_line(id, before) lanes.leave(id, before) end
  if lane then redis.call('HSET', ns .. 'lanes:limits', lane, limits) end
  lanes.wait(id)
end

-- Gives a job that has not been started its new arguments and its new time; false if it has been.
local function replace(id, body, delay, most)
  local lane = lanes.of(id)
  local waits_for_time = redis.call('ZSCORE', scheduled, id)
  if not (waits_for_time or redis.call('ZSCORE', ns .. 'loose:' .. queue_of(id), id)
    or lane and redis.call('ZSCORE', ns .. 'lane:' .. lane, id)) then
    return false
  end
  local made = tonumber(string.match(body_of(id), '^{"at":(%d+)') or now_ms)
  local at = math.min(now_ms + delay, made + most)
  set_body(id, '{"at":' .. integer(made) .. ',"due":' .. integer(at) .. ',' .. string.sub(body, 2))
  if waits_for_time then schedule(id, at) end
  change_lane(id, body, lane, waits_for_time)
  return true
end

local function here(key)
  local id = redis.call('HGET', ns .. 'unique', key)
  return id and has_body(id) and id or nil
end

local admit = {}
admit[''] = function(_, _, _, body) return make(body, due), 0 end

function admit.once(key, period, _, body)
  local before = redis.call('GET', ns .. 'once:' .. key)
  if before then return before, 1 end
  local id = make(body, due)
  redis.call('SET', ns .. 'once:' .. key, id, 'PX', period)
  return id, 0
end

function admit.done(key, _, _, body)
  local id = here(key)
  if id then return id, 1 end
  id = make(body, due)
  redis.call('HSET', ns .. 'unique', key, id)
  return id, 0
end
admit.started = admit.done

function admit.debounce(key, delay, most, body)
  local id = here(key)
  if id and replace(id, body, delay, most) then return id, 1 end
  id = make(body, now_ms + math.min(delay, most))
  redis.call('HSET', ns .. 'unique', key, id)
  return id, 0
end

local reply = {}
for arg = 4, #ARGV, 5 do
  local id, existed = admit[ARGV[arg]](ARGV[arg + 1], tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3]), ARGV[arg + 4])
  reply[#reply + 1], reply[#reply + 2] = id, existed
end
return reply
