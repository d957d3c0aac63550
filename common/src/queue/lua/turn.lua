-- One turn of a worker: settle what it finished, then claim new jobs over its queues in order.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 its time to live, ms
--      3 number of settlements, then for each: verdict, id, lease, group that it is a child of or '',
--        group that it follows or '', 'master' if it has a group or '', delay ms, history entry, reason
--        verdict: done | retry | bury | back (not run: give it back)
--      then the popped id or '', and 'take' (claim it) or 'back' (list it again)
--      then how many to claim in all, what was popped included
--      then for each queue in order: name, how many to claim
-- Returns { ids whose settlement was refused (the claim is no longer this worker's),
--           { id, lease, attempts so far, body, ... } of what was claimed }
-- A lease is `<attempt>@<claimed at, µs>`, the fence of one claim; `#` instead of `@` says that earlier
-- attempts are on record, to be forgotten when the job is done.
local worker = ARGV[1]
local claims = ns .. 'claims:' .. worker

-- `attempts` holds `<attempts> <deaths>` of each job that was claimed before and is to run again.
local function record_attempt(id, lease)
  local before = redis.call('HGET', attempts, id)
  local deaths = before and string.match(before, ' (%d+)$') or '0'
  redis.call('HSET', attempts, id, string.match(lease, '^%d+') .. ' ' .. deaths)
end

-- Settle.
local arg = 4
local settlements = {}
local ids = {}
for i = 1, tonumber(ARGV[3]) do
  ids[i] = ARGV[arg + 1]
  settlements[i] = arg
  arg = arg + 9
end
local leases = {}
in_chunks(ids, function(...)
  for _, lease in ipairs(redis.call('HMGET', claims, ...)) do leases[#leases + 1] = lease end
end)

local refused, settled, done = {}, {}, {}
local completed = {}
for i, id in ipairs(ids) do
  local at = settlements[i]
  local verdict, lease = ARGV[at], ARGV[at + 2]
  if leases[i] ~= lease then
    refused[#refused + 1] = id
  else
    settled[#settled + 1] = id
    if verdict == 'done' then
      done[#done + 1] = id
      local queue = queue_of(id)
      completed[queue] = (completed[queue] or 0) + 1
      if string.find(lease, '#', 1, true) then forget(id) end
    end
  end
end
-- The claims go before the groups are looked at, so that what a fan-in enqueues finds them settled.
in_chunks(settled, function(...) redis.call('HDEL', claims, ...) end)
in_chunks(done, function(...) redis.call('HDEL', jobs, ...) end)
for queue, n in pairs(completed) do count('completed:' .. queue, n) end

for i, id in ipairs(ids) do
  local at = settlements[i]
  local verdict, lease, group = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  if leases[i] == lease then
    if verdict == 'done' then
      local follows = ARGV[at + 4]
      if ARGV[at + 5] == 'master' or string.find(lease, '#', 1, true) then settle_master(id) end
      if follows ~= '' then redis.call('DEL', ns .. 'group:' .. follows .. ':failed') end
      leave_group(group, id)
    elseif verdict == 'back' then
      -- Its next lease must tell that it began a group, even if it does not touch it again.
      if redis.call('EXISTS', ns .. 'group:' .. id) == 1 then redis.call('HSETNX', attempts, id, '0 0') end
      push_front(id)
    elseif verdict == 'retry' then
      record_attempt(id, lease)
      note(id, ARGV[at + 7])
      count('retried', 1)
      local delay = tonumber(ARGV[at + 6])
      if delay > 0 then redis.call('ZADD', scheduled, now_ms + delay, id) else push_back(id) end
    elseif verdict == 'bury' then
      record_attempt(id, lease)
      bury(id, group, ARGV[at + 7], ARGV[at + 8])
    end
  end
end

-- Claim.
local popped, intent, free = ARGV[arg], ARGV[arg + 1], tonumber(ARGV[arg + 2])
arg = arg + 3
local taken = {}
if popped ~= '' then
  if intent == 'take' then
    local state = state_of(queue_of(popped))
    if take(state, popped) then taken[1] = popped end
    if state.behind then on_list('RPUSH', state.queue, popped) end
    keep(state)
  else
    -- No slot for it. Whether it waits is the next claim's question; listing it is harmless.
    on_list('RPUSH', queue_of(popped), popped)
  end
end
local slot_taken = taken[1] and queue_of(taken[1])
while ARGV[arg] do
  local queue = ARGV[arg]
  local wanted = tonumber(ARGV[arg + 1])
  if queue == slot_taken then wanted, slot_taken = wanted - 1, nil end
  wanted = math.min(wanted, free - #taken)
  arg = arg + 2
  local state = state_of(queue)
  while wanted > 0 and not state.behind do
    local batch = on_list('RPOP', queue, math.min(wanted, CHUNK))
    if not batch then break end
    for at, id in ipairs(batch) do
      if take(state, id) then
        taken[#taken + 1] = id
        wanted = wanted - 1
      elseif state.behind then
        -- Back with the rest of the batch, the first last: it is popped first.
        for rest = #batch, at, -1 do on_list('RPUSH', queue, batch[rest]) end
        break
      end
    end
  end
  keep(state)
end

local claimed = {}
if #taken > 0 then
  local holds = {}
  local stamp = integer(now_us)
  for from = 1, #taken, CHUNK do
    local to = math.min(from + CHUNK - 1, #taken)
    local bodies = redis.call('HMGET', jobs, unpack(taken, from, to))
    local tries = redis.call('HMGET', attempts, unpack(taken, from, to))
    for i = 1, to - from + 1 do
      -- No body: it was discarded while it waited.
      if bodies[i] then
        local id = taken[from + i - 1]
        local before = tries[i] or '0 0'
        local lease = integer(tonumber(string.match(before, '^%d+')) + 1) .. (tries[i] and '#' or '@') .. stamp
        holds[#holds + 1] = id
        holds[#holds + 1] = lease
        local n = #claimed
        claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4] = id, lease, before, bodies[i]
      end
    end
  end
  in_chunks(holds, function(...) redis.call('HSET', claims, ...) end)
  -- A worker that was given up must be known again before it holds anything; and it lives.
  redis.call('ZADD', workers, 'GT', now_ms + tonumber(ARGV[2]), worker)
end
return { refused, claimed }
