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
--      then the demand, words with a blank between, for each argument takes Redis a thousand instructions:
--        how many to claim in all, what was popped included; how many of these in slots that any
--        queue may use; the number of queues that have free slots of their own, and for each: name, how many;
--        for each queue in order: name, how many to claim
-- Returns nil, or, each of these nil if it is empty (see turn_alone.lua, which returns something else):
--         { ids whose settlement was refused (the claim is no longer this worker's),
--           { { lease, { ids }, { bodies } }, ... } of what was claimed for the first time,
--           { id, lease, attempts so far, body, ... } of what has a record,
--           { queues that are paused: nothing was taken from them } }
-- A lease is `<attempt>@<claimed at, µs>`, the fence of one claim; `#` instead of `@` says that earlier
-- attempts are on record, to be forgotten when the job is done, `!#` also that it is a *suspect*: one more
-- death buries it. A worker runs one suspect at a time, or they would be buried for each other's deeds.
local worker = ARGV[1]
local refused, again = {}, {}
local completed = { high = 0, default = 0, low = 0 }
local arg = 4
local function next_arg()
  arg = arg + 1
  return ARGV[arg - 1]
end

-- What few turns need, in turn_seldom.lua.
local made
local function seldom()
  made = made or make_seldom({
    worker = worker, max_deaths = tonumber(ARGV[3]), refused = refused, again = again, completed = completed,
  })
  return made
end

-- Settle what is done and tied to nothing, or to a group as its child: nearly all, so this is short.
local left_groups = {}
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

-- Settle the rest.
local ends = tonumber(next_arg())
if ends > 0 then arg = seldom().settle_ends(arg, ends) end
-- Last: a child may have taken its failure back just now.
for _, group in ipairs(left_groups) do seldom().fire_if_done(group) end
for queue, n in pairs(completed) do
  if n > 0 then count('completed:' .. queue, n) end
end

-- Claim.
local popped, intent = next_arg(), next_arg()
local next_word = string.gmatch(next_arg(), '%S+')
local free, shared = tonumber(next_word()), tonumber(next_word())
local own = {}
for _ = 1, tonumber(next_word()) do
  local queue = next_word()
  own[queue] = tonumber(next_word())
end
local function fill_slots(queue, n)
  local of_own = math.min(n, own[queue] or 0)
  if of_own > 0 then own[queue] = own[queue] - of_own end
  shared = shared - (n - of_own)
end
-- A worker may not have heard yet that a queue is paused, so each turn that claims asks.
local is_unusual = (free > 0 or intent == 'take') and redis.call('EXISTS', ns .. 'paused', ns .. 'attempts') > 0
local paused = is_unusual and redis.call('HKEYS', ns .. 'paused') or {}
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

-- What this turn claims, in parts: a bucket, and ids of it.
local PART = 128 -- ids in one at most
local parts, claimed = {}, 0
local function add_part(bucket, ids)
  parts[#parts + 1] = { bucket, ids }
  claimed = claimed + #ids
end

-- Claims what waits of a batch that was popped; returns how many.
local function claim(state, batch)
  local taken = take_next(state, batch)
  if taken < #batch then
    local ids = seldom().take_each(state, batch, taken)
    for _, part in ipairs(seldom().in_buckets(ids)) do add_part(unpack(part)) end
    return #ids
  end
  local kind, number = state.queue .. '-', state.cursor - taken + 1
  local left = BUCKET - number % BUCKET
  add_part(bucket_at(kind, integer(number)), taken > left and { unpack(batch, 1, left) } or batch)
  if taken > left then add_part(bucket_at(kind, integer(number + left)), { unpack(batch, left + 1) }) end
  return taken
end

local slot_taken -- the queue that the popped id has used a slot of
if popped ~= '' then
  local queue = queue_of(popped)
  if intent == 'take' and not is_paused[queue] then
    local state = state_of(queue)
    if claim(state, { popped }) > 0 then
      slot_taken = queue
      fill_slots(queue, 1)
    end
    keep(state)
  else
    -- No slot for it, or its queue is paused. Whether it waits is the next claim's question; listing it is
    -- harmless.
    on_list('RPUSH', queue, popped)
  end
end
for queue in next_word do
  local wanted = tonumber(next_word())
  if queue == slot_taken then wanted, slot_taken = wanted - 1, nil end
  wanted = math.min(wanted, free - claimed, (own[queue] or 0) + shared)
  if is_paused[queue] then wanted = 0 end
  local before, state = claimed, nil
  while wanted > 0 and not (state and state.behind) do
    local batch = on_list('RPOP', queue, math.min(wanted, PART))
    if not batch then break end
    state = state or state_of(queue)
    wanted = wanted - claim(state, batch)
  end
  if state then keep(state) end
  fill_slots(queue, claimed - before)
end

-- Whether some of these have no body. Something else in the place of their bucket has none.
local function has_gap(ids, bodies)
  for i = 1, #ids do
    if not bodies[i] then return true end
  end
  return false
end

local first_time = {}
if claimed > 0 then
  local has_records = is_unusual and redis.call('EXISTS', ns .. 'attempts') == 1
  for _, part in ipairs(parts) do
    local bucket, ids = unpack(part)
    local bodies = redis.pcall('HMGET', bucket, unpack(ids))
    local records = has_records and redis.call('HMGET', ns .. 'attempts', unpack(ids))
    if records or has_gap(ids, bodies) then ids, bodies = seldom().claim_each(ids, bodies, records or {}) end
    if #ids > 0 then
      local lease = '1@' .. integer(now_us + #first_time) -- one of its own
      hold(worker, lease, ids)
      first_time[#first_time + 1] = { lease, ids, bodies }
    end
  end
  -- A worker that was given up must be known again before it holds anything; and it lives.
  redis.call('ZADD', ns .. 'workers', 'GT', now_ms + tonumber(ARGV[2]), worker)
end
if #refused + #first_time + #again + #paused == 0 then return false end
local function unless_empty(list) return #list > 0 and list end
return { unless_empty(refused), unless_empty(first_time), unless_empty(again), unless_empty(paused) }
