-- Claims: what each worker holds. Stands below lanes.lua in every script but that which makes jobs without lanes.
-- A field of `claims:<worker>` is a lease; its value has the ids of the jobs that it is for, each with a space behind
-- it: what one pop took, or what one turn took of jobs that have a record of as many attempts. No id is the end of another, so a plain search finds one. See docs/decisions/0031.

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
local function end_claim(worker, lease, id) return #end_claims(worker, lease, { id }) == 1 end

-- { lease, ids, ... } job by job: { id, lease, ... }.
local function by_job(leases)
  local held = {}
  for i = 1, #leases, 2 do
    for id in string.gmatch(leases[i + 1], '%S+') do
      held[#held + 1] = id
      held[#held + 1] = leases[i]
    end
  end
  return held
end

-- What a worker holds: { id, lease, ... }.
local function held_by(worker) return by_job(redis.call('HGETALL', ns .. 'claims:' .. worker)) end
