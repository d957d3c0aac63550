-- One turn of a worker: settle what it finished, then claim new jobs over its queues in order.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 its time to live, ms, 3 how many workers a job may take down before it is buried
--      4 number of runs of jobs that are done and tied to nothing but a group; each run, of one bucket: the group
--        or '', lease, how many ids, ids
--      then number of other ends; each: verdict, id, lease, ties (JSON) or '', details (JSON):
--        verdict: done | retry | bury | back (not run: give it back) | park (this worker does not know it) |
--                 cancel | expire
--        details: `entry` for the history, `reason`, `delay_ms` before the next attempt,
--        `output`: what the task gave back (JSON text), if anybody wants it
--      then the popped id or '', and 'take' (claim it) or 'back' (list it again)
--      then how many to claim in all, what was popped included; how many of these in slots that any
--      queue may use; the number of queues that have free slots of their own, and for each: name, how many
--      then for each queue in order: name, how many to claim
-- Returns { ids whose settlement was refused (the claim is no longer this worker's),
--           { { lease, { ids }, { bodies } }, ... } of what was claimed for the first time,
--           { id, lease, attempts so far, body, ... } of what has a record,
--           { queues that are paused: nothing was taken from them } }
-- A lease is `<attempt>@<claimed at, µs>`, the fence of one claim; `#` instead of `@` says that earlier
-- attempts are on record, to be forgotten when the job is done, `!#` also that it is a *suspect*: one more
-- death buries it. A worker runs one suspect at a time, or they would be buried for each other's deeds.
local worker = ARGV[1]
local max_deaths = tonumber(ARGV[3])
local arg = 4
local function next_arg()
  arg = arg + 1
  return ARGV[arg - 1]
end
local refused = {}

-- `attempts` holds `<attempts> <deaths>` of each job that was claimed before and is to run again.
local function record_attempt(id, lease)
  local before = redis.call('HGET', attempts, id)
  local deaths = before and string.match(before, ' (%d+)$') or '0'
  redis.call('HSET', attempts, id, string.match(lease, '^%d+') .. ' ' .. deaths)
end

-- Settle what is done and tied to nothing, or to a group as its child: nearly all, so this is short.
local left_groups = {}
local completed = { high = 0, default = 0, low = 0 }
for _ = 1, tonumber(next_arg()) do
  local group, lease, n = next_arg(), next_arg(), tonumber(next_arg())
  local done, others = end_claims(worker, lease, { unpack(ARGV, arg, arg + n - 1) })
  for _, id in ipairs(others) do refused[#refused + 1] = id end
  if #done > 0 then
    redis.call('HDEL', bucket_of(done[1]), unpack(done))
    local queue = queue_of(done[1])
    completed[queue] = completed[queue] + #done
    if group ~= '' and leave_group_well(group, done) then left_groups[#left_groups + 1] = group end
  end
  arg = arg + n
end

-- Settle the rest. All claims go before what follows the first group is enqueued, so that it finds them settled.
local ends, some_laned = {}, false
for _ = 1, tonumber(next_arg()) do
  local verdict, id, lease, ties, details = next_arg(), next_arg(), next_arg(), next_arg(), next_arg()
  if end_claim(worker, lease, id) then
    ties = read_ties(ties)
    some_laned = some_laned or ties.lane
    ends[#ends + 1] = { verdict, id, lease, ties, cjson.decode(details) }
  else
    refused[#refused + 1] = id
  end
end

local settle = {}

function settle.done(id, lease, ties, details)
  local queue = queue_of(id)
  completed[queue] = completed[queue] + 1
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
-- Last: a child may have taken its failure back just now.
for _, group in ipairs(left_groups) do fire_if_done(group) end
for queue, n in pairs(completed) do
  if n > 0 then count('completed:' .. queue, n) end
end

-- Claim.
local popped, intent, free, shared = next_arg(), next_arg(), tonumber(next_arg()), tonumber(next_arg())
local own = {}
for _ = 1, tonumber(next_arg()) do
  local queue = next_arg()
  own[queue] = tonumber(next_arg())
end
local function fill_slots(queue, n)
  local of_own = math.min(n, own[queue] or 0)
  if of_own > 0 then own[queue] = own[queue] - of_own end
  shared = shared - (n - of_own)
end
-- A worker may not have heard yet that a queue is paused, so each turn that claims asks.
local paused = free > 0 and redis.call('HKEYS', ns .. 'paused') or {}
local is_paused = {}
for _, queue in ipairs(paused) do is_paused[queue] = true end

-- Takes the ids that are the next ones, as most are; returns how many, from the first on.
local function take_next(state, ids)
  if not is_next(state, ids[1]) then return 0 end
  local expected = ids_after(state.queue, state.cursor, math.min(#ids, state.last - state.cursor))
  local n = 0
  while n < #expected and ids[n + 1] == expected[n + 1] do n = n + 1 end
  if n > 0 then state.cursor, state.moved = state.cursor + n, true end
  return n
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

-- Bodies of jobs of a bucket, false where there is none. Something else in the bucket's place has none.
local function bodies_in(bucket, ids)
  local bodies = redis.pcall('HMGET', bucket, unpack(ids))
  for i = 1, bodies.err and #ids or 0 do bodies[i] = false end
  return bodies
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

local function has_gap(bodies)
  for _, body in ipairs(bodies) do
    if not body then return true end
  end
  return false
end

-- What this turn claims: ids of one bucket each, with its name.
local PART = 128 -- ids in one at most
local parts, claimed = {}, 0
local function add_part(bucket, ids)
  parts[#parts + 1] = { bucket, ids }
  claimed = claimed + #ids
end

-- Ids that follow each other, the first with this number.
local function claim_row(kind, number, ids)
  local left = BUCKET - number % BUCKET
  add_part(bucket_at(kind, number), #ids > left and { unpack(ids, 1, left) } or ids)
  if #ids > left then add_part(bucket_at(kind, number + left), { unpack(ids, left + 1) }) end
end

local function claim(ids)
  local buckets, of_bucket = {}, {}
  for _, id in ipairs(ids) do
    local bucket = bucket_of(id)
    if not of_bucket[bucket] then buckets[#buckets + 1], of_bucket[bucket] = bucket, {} end
    table.insert(of_bucket[bucket], id)
  end
  for _, bucket in ipairs(buckets) do add_part(bucket, of_bucket[bucket]) end
end

local slot_taken -- the queue that the popped id has used a slot of
if popped ~= '' then
  if intent == 'take' and not is_paused[queue_of(popped)] then
    local state = state_of(queue_of(popped))
    if take(state, popped) then
      slot_taken = state.queue
      claim({ popped })
      fill_slots(slot_taken, 1)
    end
    if state.behind then on_list('RPUSH', state.queue, popped) end
    keep(state)
  else
    -- No slot for it, or its queue is paused. Whether it waits is the next claim's question; listing it is
    -- harmless.
    on_list('RPUSH', queue_of(popped), popped)
  end
end
while ARGV[arg] do
  local queue = ARGV[arg]
  local wanted = tonumber(ARGV[arg + 1])
  if queue == slot_taken then wanted, slot_taken = wanted - 1, nil end
  wanted = math.min(wanted, free - claimed, (own[queue] or 0) + shared)
  if is_paused[queue] then wanted = 0 end
  local before = claimed
  arg = arg + 2
  local state = state_of(queue)
  while wanted > 0 and not state.behind do
    local batch = on_list('RPOP', queue, math.min(wanted, PART))
    if not batch then break end
    local taken = take_next(state, batch)
    if taken == #batch then
      claim_row(queue .. '-', state.cursor - taken + 1, batch)
    else
      batch = take_each(state, batch, taken)
      if #batch > 0 then claim(batch) end
    end
    wanted = wanted - #batch
  end
  keep(state)
  fill_slots(queue, claimed - before)
end

-- Whether a job is a suspect, by its record.
local function is_suspect(record)
  local deaths = tonumber(string.match(record, ' (%d+)$') or 0)
  return deaths > 0 and deaths + 1 >= max_deaths
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
local again = {}
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
      local n = #again
      again[n + 1], again[n + 2], again[n + 3], again[n + 4] = id, lease, before, body
    elseif body then
      first_ids[#first_ids + 1], first_bodies[#first_bodies + 1] = id, body
    end
  end
  for lease, its in pairs(by_lease) do hold(worker, lease, its) end
  return first_ids, first_bodies
end

local first_time = {}
if claimed > 0 then
  local has_records = redis.call('EXISTS', attempts) == 1
  for _, part in ipairs(parts) do
    local bucket, ids = unpack(part)
    local bodies = bodies_in(bucket, ids)
    local records = has_records and redis.call('HMGET', attempts, unpack(ids))
    if records or has_gap(bodies) then ids, bodies = claim_each(ids, bodies, records or {}) end
    if #ids > 0 then
      local lease = '1@' .. integer(now_us + #first_time) -- one of its own
      hold(worker, lease, ids)
      first_time[#first_time + 1] = { lease, ids, bodies }
    end
  end
  -- A worker that was given up must be known again before it holds anything; and it lives.
  redis.call('ZADD', workers, 'GT', now_ms + tonumber(ARGV[2]), worker)
end
return { refused, first_time, again, paused }
