-- What a script needs that makes jobs without lanes, and all others as well. Stands below numbers.lua.
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

local function count(what, n) redis.call('HINCRBY', stats, what, integer(n)) end

-- What a body begins with: `at`, when the job was made, and `due`, the time that it was made for, if any.
-- Only Redis's clock can tell (who makes several jobs has asked it: `queue/clock.rs`); they stand first, so that scripts
-- find them without reading JSON.
local function stamp(due)
  if not due then return string.format('{"at":%d,', now_ms) end
  return string.format('{"at":%d,"due":%d,', now_ms, due)
end

-- The next `n` ids of a queue after a number. All but one in ten are those before with another digit, which is much
-- quicker than to write them.
local function ids_after(queue, number, n)
  local digits = { [0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' }
  local ids, tens = {}, nil
  for i = 1, n do
    local digit = (number + i) % 10
    if digit == 0 or not tens then
      local rest = (number + i - digit) / 10
      tens = rest > 0 and string.format('%s-%d', queue, rest) or queue .. '-'
    end
    ids[i] = tens .. digits[digit]
  end
  return ids
end

-- Writes the bodies of new jobs. `fields`: id, body, ...; their ids are of one kind and follow on `number`.
local function store(kind, number, fields)
  local from, n = 1, #fields / 2
  while from <= n do
    local to = math.min(from + BUCKET - 1 - (number + from) % BUCKET, n)
    redis.call('HSET', bucket_at(kind, integer(number + from)), unpack(fields, 2 * from - 1, 2 * to))
    from = to + 1
  end
end

-- Pushes new jobs that have no lane at the back of one queue; returns their ids. `stamped`: whether the bodies begin
-- with their time already, which is an eighth less work.
local function push_new(queue, bodies, stamped)
  local n = #bodies
  if n == 0 then return {} end
  local number = draw(queue, 'last', n)
  local at, ids, fields = stamp(), ids_after(queue, number, n), {}
  for i = 1, n do
    local body = bodies[i]
    fields[2 * i - 1], fields[2 * i] = ids[i], stamped and body or at .. string.sub(body, 2)
  end
  store(queue .. '-', number, fields)
  for from = 1, n, CHUNK do on_list('LPUSH', queue, unpack(ids, from, math.min(from + CHUNK - 1, n))) end
  count('enqueued:' .. queue, n)
  return ids
end
