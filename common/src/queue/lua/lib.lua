-- What the scripts share that do more than make jobs: lists, groups, results, ends. Stands below often.lua;
-- in a turn inside `make_seldom`, as all below it (turn.lua).
local attempts, scheduled, dead, workers = ns .. 'attempts', ns .. 'scheduled', ns .. 'dead', ns .. 'workers'

local lanes -- what lanes.lua has, which stands below
local LANE = string.byte('l') -- third byte of a body that has a lane: `{"lane":…`

local STEP = 2 ^ -20 -- between the places of two ids that are listed again one after the other
local MOST_KEEP = 10 * 365 * 86400000 -- ms, of how a job ended; Redis refuses longer times
local STRIDE = 4000 -- how far a claim moves a cursor at most, so that no script runs for long

local function has_body(id) return redis.call('HEXISTS', bucket_of(id), id) == 1 end
-- '' if there is none.
local function body_of(id) return redis.call('HGET', bucket_of(id), id) or '' end
local function set_body(id, body) redis.call('HSET', bucket_of(id), id, body) end

-- What a job is tied to, as its worker read it from the body: JSON, or '' for most jobs.
local NO_TIES = {}
local function read_ties(text) return text == '' and NO_TIES or cjson.decode(text) end

-- Tells all workers, once a script: `look` (care has something to do) or `beat` (the next heartbeat has
-- news).
local rung = {}
local function ring(what)
  if not rung[what] then redis.call('PUBLISH', ns .. 'bell', what) end
  rung[what] = true
end

-- Has a job wait for its time.
local function schedule(id, due)
  redis.call('ZADD', scheduled, due, id)
  if redis.call('ZRANK', scheduled, id) == 0 then ring('look') end
end

-- Pushes new jobs at the back of one queue, or into their lanes; returns their ids. What is stamped has no lane.
local push_plain = push_new
local function push_new(queue, bodies, stamped)
  if not stamped then
    for i = 1, #bodies do
      if string.byte(bodies[i], 3) == LANE then return lanes.push(queue, bodies) end
    end
  end
  return push_plain(queue, bodies, stamped)
end

-- Makes a job that is in no list yet (scheduled, in a lane, or dead at birth); returns its id.
local function make_unlisted(queue, body, due)
  local id = queue .. '+' .. integer(draw(queue, 'later', 1) + 1)
  set_body(id, stamp(due) .. string.sub(body, 2))
  if string.byte(body, 3) == LANE then lanes.set(id, body) end
  count('enqueued:' .. queue, 1)
  return id
end

-- Whether an id is still in the list for the first time, and so waits: its number, or nil.
local function fresh_number(state, id)
  local number = tonumber(string.match(id, '^' .. state.queue .. '%-([1-9]%d*)$'))
  if number and number > state.cursor and number <= state.last then return number end
  return nil
end

-- The next id to be popped and its place in line, lowest first; nil if the list is empty. Drops what
-- stands there and does not wait (a second entry of an id that was claimed meanwhile, or a text that
-- is no id of this queue), a bounded number.
local function tail_of(state)
  for _ = 1, CHUNK do
    local id = on_list('LINDEX', state.queue, -1)
    if not id then return nil end
    local order = fresh_number(state, id) or tonumber(redis.call('ZSCORE', ns .. 'loose:' .. state.queue, id) or nil)
    if order then return id, order end
    on_list('RPOP', state.queue)
  end
  return nil
end

-- The ids with the numbers from `from` to `to` were popped by somebody who has not claimed them yet.
local function loosen(state, from, to)
  local gap = {}
  for number = from, to do
    gap[#gap + 1] = integer(number)
    gap[#gap + 1] = state.queue .. '-' .. integer(number)
  end
  in_chunks(gap, function(...) redis.call('ZADD', ns .. 'loose:' .. state.queue, ...) end)
end

-- Lists an id again as the next to be popped: given back, taken from a dead worker, or lost.
local function push_front(id)
  local state = state_of(queue_of(id))
  local _, order = tail_of(state)
  redis.call('ZADD', ns .. 'loose:' .. state.queue, order and order - 1 or state.last, id)
  on_list('RPUSH', state.queue, id)
end

-- Lists ids again behind all that wait: a retry, a scheduled job that is due, what a lane lets go. Their places are
-- above all others, so that it shows when a pop is lost, and below the next number. Should a million of them wait
-- and no new job come, they reach into the next numbers: a lost pop shows a little later then.
local function push_all_back(queue, ids)
  local loose = ns .. 'loose:' .. queue
  local highest = tonumber(redis.call('ZREVRANGE', loose, 0, 0, 'WITHSCORES')[2] or 0)
  local place = math.max(state_of(queue).last, highest)
  local entries = {}
  for i, id in ipairs(ids) do entries[2 * i - 1], entries[2 * i] = place + i * STEP, id end
  in_chunks(entries, function(...) redis.call('ZADD', loose, ...) end)
  in_chunks(ids, function(...) on_list('LPUSH', queue, ...) end)
end
local function push_back(id) push_all_back(queue_of(id), { id }) end

-- Adds an entry, a JSON object, to what happened to a job.
local function note(id, entry)
  redis.call('RPUSH', ns .. 'history:' .. id, '{"at_ms":' .. integer(now_ms) .. ',' .. string.sub(entry, 2))
  redis.call('LTRIM', ns .. 'history:' .. id, -50, -1)
end

-- What a job asks of the worker that is to run it: `<queue>:<task>:<version>`, from its body.
local function kind_of(id)
  local is_json, body = pcall(cjson.decode, body_of(id))
  if not is_json or type(body) ~= 'table' then body = {} end
  local version = type(body.v) == 'number' and integer(body.v) or '1'
  return queue_of(id) .. ':' .. tostring(body.task or '?') .. ':' .. version
end

-- Puts a job aside until a worker comes that knows its task in its version.
local function park(id)
  local kind = kind_of(id)
  redis.call('ZADD', ns .. 'parked:' .. kind, now_ms, id)
  redis.call('SADD', ns .. 'parked', kind)
  count('parked', 1)
end

local function drop_kind_if_empty(kind)
  if redis.call('EXISTS', ns .. 'parked:' .. kind) == 0 then redis.call('SREM', ns .. 'parked', kind) end
end

-- Takes a job out of the parked ones; returns whether it was there.
local function unpark(id)
  if redis.call('EXISTS', ns .. 'parked') == 0 then return false end
  local kind = kind_of(id)
  local was_parked = redis.call('ZREM', ns .. 'parked:' .. kind, id) == 1
  if was_parked then drop_kind_if_empty(kind) end
  return was_parked
end

-- Removes every trace of one job. What is still listed of it is passed over by whoever pops it.
local function forget(id)
  redis.call('HDEL', bucket_of(id), id)
  redis.call('HDEL', attempts, id)
  redis.call('DEL', ns .. 'history:' .. id, ns .. 'progress:' .. id)
end

-- In flow.lua, which is joined to every script that ends jobs.
local flows

-- Enqueues what follows a group, once: when the split is sealed and no child is left.
local function fire_if_done(group)
  local key = ns .. 'group:' .. group
  local g = redis.call('HMGET', key, 'sealed', 'fired', 'policy', 'body', 'master_settled', 'flow')
  if g[1] ~= '1' or g[2] == '1' then return end
  if redis.call('EXISTS', key .. ':left') == 1 then return end
  local failures = redis.call('HLEN', key .. ':failed')
  local id, failure
  if failures > 0 and g[3] == 'fail' then
    failure = failures .. ' children of group ' .. group .. ' are dead; retry them, then this job'
    id = make_unlisted(queue_of(group), g[4])
    redis.call('ZADD', dead, now_ms, id)
    count('buried', 1)
    note(id, '{"event":"group_failed","error":"' .. failure .. '"}')
  else
    id = push_new(queue_of(group), { g[4] })[1]
  end
  if g[6] then flows().take_place(cjson.decode(g[6]), group, id, failure) end
  if g[5] == '1' then redis.call('DEL', key) else redis.call('HSET', key, 'fired', 1) end
end

-- A child has settled for good, well or not.
local function leave_group(group, id, failure)
  local was_left
  if failure then
    local key = ns .. 'group:' .. group
    was_left = redis.call('SREM', key .. ':left', id) == 1
    if was_left then redis.call('HSET', key .. ':failed', id, failure) end
  else
    was_left = leave_group_well(group, { id })
  end
  if was_left then fire_if_done(group) end
end

-- A master has settled: its group's record may go as soon as what follows it is enqueued. A group
-- that it began in an earlier attempt and left unsealed is given up: nothing follows it.
local function settle_master(id)
  local key = ns .. 'group:' .. id
  local g = redis.call('HMGET', key, 'policy', 'sealed', 'fired')
  if not g[1] then return end
  if g[2] ~= '1' or g[3] == '1' then redis.call('DEL', key) end
  if g[2] ~= '1' then redis.call('DEL', key .. ':left', key .. ':failed') return end
  if g[3] ~= '1' then redis.call('HSET', key, 'master_settled', 1) end
end

-- A unique job gives its key up, unless another one has it by now.
local function release(id, key)
  if redis.call('HGET', ns .. 'unique', key) == id then redis.call('HDEL', ns .. 'unique', key) end
end

-- Keeps how a job ended, for as long as it is asked for, and tells whoever awaits it.
local function tell_outcome(id, ties, how, failure, output)
  if how == 'done' and not (ties.keep or ties.reply or ties.heard) then return end
  local outcome = '{"' .. how .. '":' .. (failure and cjson.encode(failure) or output or 'null') .. '}'
  local keep = math.min(ties.keep or 0, MOST_KEEP)
  if keep >= 1 then redis.call('SET', ns .. 'result:' .. id, outcome, 'PX', integer(keep)) end
  redis.call('PUBLISH', ns .. 'job:' .. id, outcome)
  local process, call = string.match(ties.reply or '', '^(.-)/(.+)$')
  if process then redis.call('PUBLISH', ns .. 'replies:' .. process, call .. ' ' .. outcome) end
end

-- A job has come to an end: what it is tied to hears of it, here and nowhere else. `how`: done, dead,
-- cancelled, expired or discarded. `failure`: why, if it is not done. `output`: what it gave back (JSON
-- text), if anybody wants it.
local function part(id, ties, how, failure, output)
  tell_outcome(id, ties, how, failure, output)
  if ties.group then leave_group(ties.group, id, failure) end
  if ties.unique then release(id, ties.unique) end
  if ties.lane then lanes.leave(id, ties.lane) end
  if ties.flow then flows().end_step(ties.flow, id, failure, output) end
end

local function bury(id, ties, entry, reason)
  redis.call('ZADD', dead, now_ms, id)
  note(id, entry)
  count('buried', 1)
  part(id, ties, 'dead', reason)
end

-- A job is gone for good. A group that it sealed still owes what follows; one that it did not is given up.
local function finish(id, ties, how, failure, output)
  settle_master(id)
  if ties.follows then redis.call('DEL', ns .. 'group:' .. ties.follows .. ':failed') end
  part(id, ties, how, failure, output)
  if ties.lane then lanes.forget(id) end
  if ties.flow then flows().leave(ties.flow, id) end
end

-- A job is gone for good without having run to its end: `how` is cancelled, expired or discarded.
local function end_as(how, id, ties, reason)
  forget(id)
  count(how .. ':' .. queue_of(id), 1)
  finish(id, ties, how, reason)
end

-- Takes a popped id if it waits, also out of its order (the next ones: turn_alone.lua, turn.lua). Ids that it
-- jumps over become loose. If they are too many for one step (a long list was deleted), the state is `behind`,
-- and the caller lists the id again for the next.
local function take(state, id)
  if is_next(state, id) then
    state.cursor, state.moved = state.cursor + 1, true
    return true
  end
  local number = fresh_number(state, id)
  if not number then return redis.call('ZREM', ns .. 'loose:' .. state.queue, id) == 1 end
  local to = math.min(number - 1, state.cursor + STRIDE)
  if to > state.cursor then
    loosen(state, state.cursor + 1, to)
    state.cursor, state.moved = to, true
  end
  state.behind = to < number - 1
  if state.behind then return false end
  state.cursor, state.moved = number, true
  return true
end
