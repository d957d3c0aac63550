-- The turn by which a worker with little to do gets most of its jobs: nothing to settle, one popped id to claim, and
-- nothing else listed. Stands before what other turns need, so that it makes none of that (docs/decisions/0044).
-- ARGV: as in turn.lua, to which it leaves the turn before it has written anything.
-- Returns { the job's id, its lease, its body }: each table more in an answer takes Redis as long as a command.

-- Whether no queue is paused, and the lists that it may take from are empty.
local function is_alone()
  if ARGV[4] ~= '0' or ARGV[5] ~= '0' or ARGV[7] ~= 'take' then return false end
  local keys = { ns .. 'paused' }
  -- The names among the demand's words; those of the own part are there twice.
  for queue in string.gmatch(ARGV[8], '%a+') do keys[#keys + 1] = ns .. 'queue:' .. queue end
  return redis.call('EXISTS', unpack(keys)) == 0
end

-- Claims it if it is the next id and was never claimed; returns { id, lease, body }, or nil.
local function claim_next(worker, id)
  local queue, number = string.match(id, '^(%a+)%-([1-9]%d*)$')
  if not queue then return end
  local mark = ns .. 'mark:' .. queue
  local last, cursor = unpack(redis.call('HMGET', mark, 'last', 'cursor'))
  local next_one = (cursor or 0) + 1
  if tonumber(number) ~= next_one or next_one > tonumber(last or 0) then return end
  if redis.call('HEXISTS', ns .. 'attempts', id) == 1 then return end
  local body = redis.pcall('HGET', bucket_at(queue .. '-', number), id)
  if type(body) ~= 'string' then return end
  local time = redis.call('TIME')
  local lives_until = redis.call('ZSCORE', ns .. 'workers', worker)
  local now_us = time[1] * 1000000 + time[2]
  if not lives_until or lives_until - ARGV[2] / 2 < now_us / 1000 then return end
  local lease = string.format('1@%d', now_us)
  if redis.call('HSETNX', ns .. 'claims:' .. worker, lease, id .. ' ') == 0 then return end
  redis.call('HSET', mark, 'cursor', number)
  return { id, lease, body }
end

local claimed = is_alone() and claim_next(ARGV[1], ARGV[6])
if claimed then return claimed end
