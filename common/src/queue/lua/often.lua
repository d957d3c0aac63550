-- What nearly each turn of a worker needs, and other scripts as well. Stands below head.lua. What stands in lib.lua, a
-- turn has only if it asks for it: see turn.lua; so has fan_out.lua.

local function queue_of(id) return string.match(id, '^%a+') or '' end

-- The bucket of a job.
local function bucket_of(id)
  local kind, digits = string.match(id, '^(%a+[-+])(%d*)$')
  return kind and bucket_at(kind, digits) or ns .. 'jobs:?'
end

-- A queue's marks. The caller writes `cursor` back if it moves it.
local function state_of(queue)
  local mark = redis.call('HMGET', ns .. 'mark:' .. queue, 'last', 'cursor')
  return { queue = queue, pattern = queue .. '-%d', last = tonumber(mark[1] or 0), cursor = tonumber(mark[2] or 0) }
end

-- Whether an id is the one after the cursor, as most that are popped are: much quicker than to read it.
local function is_next(state, id)
  return id == string.format(state.pattern, state.cursor + 1) and state.cursor < state.last
end

local function keep(state)
  if state.moved then redis.call('HSET', ns .. 'mark:' .. state.queue, 'cursor', integer(state.cursor)) end
end

local function in_chunks(items, call)
  for from = 1, #items, CHUNK do
    call(unpack(items, from, math.min(from + CHUNK - 1, #items)))
  end
end

-- Children have completed: each counts once, however often it ran. One that was dead and was retried takes
-- its failure back. Returns whether one was left: then what follows the group may be due.
local function leave_group_well(group, ids)
  local key = ns .. 'group:' .. group
  if redis.call('EXISTS', key .. ':failed') == 1 then redis.call('HDEL', key .. ':failed', unpack(ids)) end
  return redis.call('SREM', key .. ':left', unpack(ids)) > 0
end

-- Whether a worker holds a job by a lease.
local function holds(worker, id, lease)
  local ids = redis.call('HGET', ns .. 'claims:' .. worker, lease)
  return ids and string.find(ids, id .. ' ', 1, true) ~= nil
end

-- Notes that a worker holds jobs by a lease. It has that lease already if Redis's clock was set back.
local function hold(worker, lease, ids)
  local key, text = ns .. 'claims:' .. worker, table.concat(ids, ' ') .. ' '
  if redis.call('HSETNX', key, lease, text) == 0 then
    redis.call('HSET', key, lease, redis.call('HGET', key, lease) .. text)
  end
end

-- Takes jobs from what a worker holds by a lease. Returns those that it held so, and those that it did not.
local function end_claims(worker, lease, ids)
  local key = ns .. 'claims:' .. worker
  local held = redis.call('HGET', key, lease) or ''
  if held == table.concat(ids, ' ') .. ' ' then
    redis.call('HDEL', key, lease)
    return ids, {}
  end
  local ended, others = {}, {}
  for _, id in ipairs(ids) do
    local from, to = string.find(held, id .. ' ', 1, true)
    if from then
      held = string.sub(held, 1, from - 1) .. string.sub(held, to + 1)
      ended[#ended + 1] = id
    else
      others[#others + 1] = id
    end
  end
  if #ended > 0 then
    if held == '' then redis.call('HDEL', key, lease) else redis.call('HSET', key, lease, held) end
  end
  return ended, others
end
