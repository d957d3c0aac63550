-- Where jobs are: what the scripts that look share. They write nothing.
-- A job that is not settled is in exactly one place: waiting, laned (in a lane's line), scheduled, claimed,
-- parked or dead.

local marks = {}
local function mark_of(queue)
  marks[queue] = marks[queue] or state_of(queue)
  return marks[queue]
end

local function waits(id)
  local queue = queue_of(id)
  return fresh_number(mark_of(queue), id) or redis.call('ZSCORE', ns .. 'loose:' .. queue, id)
end

-- The lease by which a worker holds a job; nil if it does not. Looked for first in one text of all that it holds.
local all_held, all_ids = {}, {} -- by worker
local function lease_of(worker, id)
  if not all_held[worker] then
    local key = ns .. 'claims:' .. worker
    all_held[worker], all_ids[worker] = redis.call('HGETALL', key), table.concat(redis.call('HVALS', key))
  end
  local name, held = id .. ' ', all_held[worker]
  if not string.find(all_ids[worker], name, 1, true) then return nil end
  for i = 1, #held, 2 do
    if string.find(held[i + 1], name, 1, true) then return held[i] end
  end
  return nil
end

-- The worker that holds a job, and its lease; nil if nobody does. One question per worker.
local known_workers
local function holder_of(id)
  known_workers = known_workers or redis.call('ZRANGE', workers, 0, -1)
  for _, worker in ipairs(known_workers) do
    local lease = lease_of(worker, id)
    if lease then return worker, lease end
  end
  return nil
end

-- When a job was parked, ms; nil if it is not.
local any_parked
local function parked_at(id)
  if any_parked == nil then any_parked = redis.call('EXISTS', ns .. 'parked') == 1 end
  return any_parked and redis.call('ZSCORE', ns .. 'parked:' .. kind_of(id), id) or nil
end

-- The places that an id is in, but for claims.
local function places_of(id)
  local places = {}
  if waits(id) then places[#places + 1] = 'waiting' end
  local lane = lanes.of(id)
  if lane and redis.call('ZSCORE', ns .. 'lane:' .. lane, id) then places[#places + 1] = 'laned' end
  if redis.call('ZSCORE', scheduled, id) then places[#places + 1] = 'scheduled' end
  if redis.call('ZSCORE', dead, id) then places[#places + 1] = 'dead' end
  if parked_at(id) then places[#places + 1] = 'parked' end
  return places
end

-- A job of a lane holds a slot while it waits in its queue or runs.
local function has_slot(id, lane) return redis.call('SISMEMBER', ns .. 'slots:' .. lane, id) == 1 end
local function needs_slot(id)
  if not has_body(id) then return false end
  local places = places_of(id)
  return places[1] == 'waiting' or #places == 0 and holder_of(id) ~= nil
end

local function tries_of(id) return redis.call('HGET', attempts, id) or '' end
local function last_entry_of(id) return redis.call('LINDEX', ns .. 'history:' .. id, -1) or '' end

-- How many jobs wait in a queue. Not the length of the list: what was popped a moment ago waits until it is
-- claimed, and when a list was deleted its jobs wait all the same.
local function waiting_in(queue)
  local mark = mark_of(queue)
  return math.max(0, mark.last - mark.cursor) + redis.call('ZCARD', ns .. 'loose:' .. queue)
end

-- How many jobs there ought to be, by the totals: enqueued, and neither ended nor written off. `totals`: HGETALL.
local SIGNS = { enqueued = 1, completed = -1, discarded = -1, cancelled = -1, expired = -1, lost = -1 }
local function owed(totals)
  local sum = 0
  for i = 1, #totals, 2 do
    sum = sum + (SIGNS[string.match(totals[i], '^%a+')] or 0) * tonumber(totals[i + 1])
  end
  return sum
end

-- How many bodies others have left for a queue, and no worker has fetched yet.
local function inbox_of(queue)
  local length = redis.pcall('LLEN', ns .. 'inbox:' .. queue)
  return type(length) == 'number' and length or 0
end
