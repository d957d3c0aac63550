-- What a script needs that makes jobs without lanes, and all others as well: names, ids, pushing.
-- Such a script has no function that it does not call, for each call of a script makes all of them.
-- KEYS 1 is always the namespace, e.g. `{rhubarb}:`; every other key is built from it and so lives
-- in the same Redis Cluster slot. The list of all keys is in `kv/keys.rs`.
--
-- An id reads `<queue>-<n>` (pushed when it was made) or `<queue>+<n>` (scheduled or put into a lane then).
-- The n of pushed ids has no gaps, and a list is first in, first out. So one number per queue, the
-- *cursor*, tells what waits: an id above it is still in the list; of the ids at or below it only
-- those in the *loose* set still wait. Score of a loose id = its place in line (see `tail_of`);
-- the place of the others is their number.
local ns = KEYS[1]
local jobs, stats = ns .. 'jobs', ns .. 'stats'

local CHUNK = 1000 -- unpack() has a limit; longer argument lists are cut

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

-- Much quicker than what `..` does with a number, which loses digits besides.
local function integer(n) return string.format('%d', n) end

-- A command on a queue's list; false if somebody has put something else in the list's place. That must
-- not stop a script half way: what waits is known without the list, and the sweep complains.
local function on_list(command, queue, ...)
  local reply = redis.pcall(command, ns .. 'queue:' .. queue, ...)
  if type(reply) == 'table' and reply.err then return false end
  return reply
end

-- What a queue that is to run empty tells who brings a new job.
local function refuse_draining(queue)
  return redis.error_reply('DRAINING queue ' .. queue .. ' takes no new jobs')
end

local function count(what, n) redis.call('HINCRBY', stats, what, integer(n)) end

-- What a body begins with: `at`, when the job was made, and `due`, the time that it was made for, if any.
-- Only Redis's clock can tell; they stand first, so that scripts find them without reading JSON.
local function stamp(due)
  return '{"at":' .. integer(now_ms) .. ',' .. (due and '"due":' .. integer(due) .. ',' or '')
end

-- Gives out the next `n` numbers of a queue's pushed (`last`) or unlisted (`later`) ids; returns the one
-- before them. If somebody has deleted the mark, it goes on after as many as were ever enqueued, which
-- no id exceeds: an old body must not be overwritten. The cursor jumps along, so that nothing takes the
-- jump for lost pops; the old ids that waited are in no place then, until an audit puts them back.
local function draw(queue, counter, n)
  local mark = ns .. 'mark:' .. queue
  local number = redis.call('HINCRBY', mark, counter, integer(n))
  if number == n and redis.call('HLEN', mark) == 1 then
    local used = tonumber(redis.call('HGET', stats, 'enqueued:' .. queue) or 0)
    if used > 0 then
      redis.call('HSET', mark, 'last', used, 'cursor', used, 'later', used)
      number = redis.call('HINCRBY', mark, counter, integer(n))
    end
  end
  return number - n
end

-- Pushes new jobs that have no lane at the back of one queue; returns their ids.
local function push_new(queue, bodies)
  local n = #bodies
  if n == 0 then return {} end
  local ids, at, pattern = {}, stamp(), queue .. '-%d'
  local number = draw(queue, 'last', n)
  for from = 1, n, CHUNK do
    local to, fields = math.min(from + CHUNK - 1, n), {}
    for i = from, to do
      local id = string.format(pattern, number + i)
      ids[i] = id
      local field = 2 * (i - from)
      fields[field + 1], fields[field + 2] = id, at .. string.sub(bodies[i], 2)
    end
    redis.call('HSET', jobs, unpack(fields))
    on_list('LPUSH', queue, unpack(ids, from, to))
  end
  count('enqueued:' .. queue, n)
  return ids
end
