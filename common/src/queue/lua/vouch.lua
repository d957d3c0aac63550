-- A worker says what it knows of periodic tasks. The definition of the worker that started last holds, for
-- as long as somebody vouches for it.
-- KEYS 1 namespace
-- ARGV 1 'start' or 'go on', 2 ms after which a definition that nobody vouches for gives way
--      then for each: name, timetable (JSON), definition (JSON)
-- Returns for each: its last tick, ms, if this definition holds, or ''
local GRACE = 2000 -- a tick this old is still due under a timetable that has changed meanwhile

local starts, patience = ARGV[1] == 'start', tonumber(ARGV[2])
local seen = ns .. 'periodic'
local reply = {}
for arg = 3, #ARGV, 3 do
  local name, timetable, definition = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  local key = ns .. 'periodic:' .. name
  local entry = redis.call('HMGET', key, 'definition', 'timetable', 'last')
  local vouched = tonumber(redis.call('ZSCORE', seen, name) or 0)
  local is_orphan = not entry[1] or vouched + patience < now_ms
  local holds = entry[1] == definition
  if not holds and (starts or is_orphan) then
    -- A new timetable counts from now on, or from when the one before was given up.
    local last = tonumber(entry[3])
    if entry[2] ~= timetable then
      last = math.max(last or 0, last and is_orphan and vouched or now_ms - (last and GRACE or 0))
    end
    entry[3] = integer(last)
    redis.call('HSET', key, 'definition', definition, 'timetable', timetable, 'last', entry[3])
    holds = true
  end
  if holds then redis.call('ZADD', seen, now_ms, name) end
  reply[#reply + 1] = holds and entry[3] or ''
end
return reply
