-- What few turns need: ends of jobs that are not simply done, ids that are popped out of their order, jobs with a
-- record. Stands with lib.lua and all below it in the function `make_seldom(turn)`, which a turn calls when it first
-- needs one of these. To make them in each turn took Redis longer than the rest of a turn of one job
-- (docs/decisions/0041).
-- `turn`: what turn.lua keeps of itself.
local worker = turn.worker

-- `attempts` holds `<attempts> <deaths>` of each job that was claimed before and is to run again.
local function record_attempt(id, lease)
  local before = redis.call('HGET', attempts, id)
  local deaths = before and string.match(before, ' (%d+)$') or '0'
  redis.call('HSET', attempts, id, string.match(lease, '^%d+') .. ' ' .. deaths)
end

local settle = {}

function settle.done(id, lease, ties, details)
  local queue = queue_of(id)
  turn.completed[queue] = turn.completed[queue] + 1
  forget(id)
  finish(id, ties, 'done', nil, details.output)
end

function settle.retry(id, lease, ties, details)
  record_attempt(id, lease)
  note(id, details.entry)
  count('retried', 1)
  if ties.lane then lanes.leave(id, ties.lane) end -- it comes back through its lane
  if details.delay_ms > 0 then
    schedule(id, now_ms + details.delay_ms)
  elseif ties.lane then
    lanes.wait(id)
  else
    push_back(id)
  end
end

function settle.bury(id, lease, ties, details)
  record_attempt(id, lease)
  bury(id, ties, details.entry, details.reason)
end

function settle.cancel(id, _, ties, details) end_as('cancelled', id, ties, details.reason) end

function settle.expire(id, _, ties, details) end_as('expired', id, ties, details.reason) end

-- Its next lease must tell that it began a group, even if it does not touch it again.
local function remember_group(id)
  if redis.call('EXISTS', ns .. 'group:' .. id) == 1 then redis.call('HSETNX', attempts, id, '0 0') end
end

function settle.back(id)
  redis.call('DEL', ns .. 'progress:' .. id)
  remember_group(id)
  push_front(id)
end

-- Its attempt does not count: it did not run.
function settle.park(id)
  remember_group(id)
  local lane = lanes.of(id)
  if lane then lanes.leave(id, lane) end -- it comes back through its lane
  park(id)
end

-- What is given back is given back without its ties; its body has them under the same names.
local function ties_in_body(id)
  local well, body = pcall(cjson.decode, body_of(id))
  local ties = {}
  for name, kind in pairs({ group = 'string', follows = 'string', keep = 'number', reply = 'string' }) do
    if well and type(body) == 'table' and type(body[name]) == kind then ties[name] = body[name] end
  end
  if well and type(body) == 'table' and type(body.unique) == 'table' then ties.unique = body.unique.key end
  if well and type(body) == 'table' and type(body.flow) == 'table' then ties.flow = body.flow end
  ties.lane = lanes.of(id)
  return ties
end

-- A claim that was to be cancelled has ended: done is done, but whoever asked hears of it; else the job is
-- not tried again, whether its worker knew or not.
local function called_off(verdict, id, ties, details)
  if verdict == 'done' then return 'done', setmetatable({ heard = true }, { __index = ties }), details end
  if verdict == 'back' then return 'cancel', ties_in_body(id), { reason = 'cancelled' } end
  if verdict == 'park' then return 'cancel', ties, { reason = 'cancelled' } end
  if verdict == 'retry' or verdict == 'bury' then
    return 'cancel', ties, { reason = 'cancelled; its last attempt failed: ' .. details.reason }
  end
  return verdict, ties, details
end

-- Ends the claims of `n` jobs, from ARGV[at] on, and settles those that were this worker's; returns where the next
-- argument is. All claims go before what follows the first group is enqueued, so that it finds them settled.
local function settle_ends(at, n)
  local ends, some_laned = {}, false
  for i = at, at + 5 * n - 1, 5 do
    local verdict, id, lease, ties, details = unpack(ARGV, i, i + 4)
    if end_claim(worker, lease, id) then
      ties = read_ties(ties)
      some_laned = some_laned or ties.lane
      ends[#ends + 1] = { verdict, id, lease, ties, cjson.decode(details) }
    else
      turn.refused[#turn.refused + 1] = id
    end
  end
  local some_called_off = #ends > 0 and redis.call('EXISTS', ns .. 'cancels:' .. worker) == 1
  if some_laned then lanes.defer() end
  for _, it in ipairs(ends) do
    local verdict, id, lease, ties, details = unpack(it)
    if some_called_off and was_to_be_cancelled(worker, id, lease) then
      verdict, ties, details = called_off(verdict, id, ties, details)
    end
    settle[verdict](id, lease, ties, details)
  end
  if some_laned then lanes.let_all_go() end
  return at + 5 * n
end

-- Takes what waits of a batch whose first `taken` are taken; returns all that are.
local function take_each(state, batch, taken)
  local ids = { unpack(batch, 1, taken) }
  for at = taken + 1, #batch do
    if take(state, batch[at]) then
      ids[#ids + 1] = batch[at]
    elseif state.behind then
      -- Back with the rest of the batch, the first last: it is popped first.
      for rest = #batch, at, -1 do on_list('RPUSH', state.queue, batch[rest]) end
      break
    end
  end
  return ids
end

-- Ids as parts of a claim: of one bucket each, with its name.
local function in_buckets(ids)
  local parts, of_bucket = {}, {}
  for _, id in ipairs(ids) do
    local bucket = bucket_of(id)
    if not of_bucket[bucket] then
      of_bucket[bucket] = {}
      parts[#parts + 1] = { bucket, of_bucket[bucket] }
    end
    table.insert(of_bucket[bucket], id)
  end
  return parts
end

-- A body that a program of before there were buckets has left, now where it belongs; or false.
local function body_of_before(id)
  local before = ns .. 'jobs'
  local body = redis.pcall('HGET', before, id)
  if type(body) ~= 'string' then return false end
  set_body(id, body)
  redis.call('HDEL', before, id)
  return body
end

-- Whether a job is a suspect, by its record.
local function is_suspect(record)
  local deaths = tonumber(string.match(record, ' (%d+)$') or 0)
  return deaths > 0 and deaths + 1 >= turn.max_deaths
end

local has_suspect -- whether this worker holds one; not known yet
local function holds_suspect()
  if has_suspect == nil then
    has_suspect = false
    for _, lease in ipairs(redis.call('HKEYS', ns .. 'claims:' .. worker)) do
      has_suspect = has_suspect or string.find(lease, '!', 1, true) ~= nil
    end
  end
  return has_suspect
end

-- Suspects that must wait for another come back one after the other, to whatever worker is free.
local put_off = 0
local function put_off_suspect(id)
  put_off = put_off + 1
  local lane = lanes.of(id)
  if lane then lanes.leave(id, lane) end -- it comes back through its lane
  schedule(id, now_ms + 400 + 100 * put_off)
end

-- Claims jobs of which some have a record of earlier attempts, or no body: these were discarded while they waited.
-- Returns those that are claimed for the first time, and their bodies.
local function claim_each(ids, bodies, records)
  local first_ids, first_bodies, by_lease = {}, {}, {}
  for i, id in ipairs(ids) do
    local body, before = bodies[i] or body_of_before(id), records[i]
    local suspect = body and before and is_suspect(before)
    if suspect and holds_suspect() then
      put_off_suspect(id)
    elseif body and before then
      if suspect then has_suspect = true end
      local sign = suspect and '!#' or '#'
      local lease = integer(tonumber(string.match(before, '^%d+')) + 1) .. sign .. integer(now_us)
      by_lease[lease] = by_lease[lease] or {}
      table.insert(by_lease[lease], id)
      local again, n = turn.again, #turn.again
      again[n + 1], again[n + 2], again[n + 3], again[n + 4] = id, lease, before, body
    elseif body then
      first_ids[#first_ids + 1], first_bodies[#first_bodies + 1] = id, body
    end
  end
  for lease, its in pairs(by_lease) do hold(worker, lease, its) end
  return first_ids, first_bodies
end

return {
  fire_if_done = fire_if_done, settle_ends = settle_ends, take_each = take_each, in_buckets = in_buckets,
  claim_each = claim_each,
}
