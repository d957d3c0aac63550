-- Take from a dead worker what it held: list it again, bury what has taken too many workers down, end
-- what it was to cancel.
-- KEYS 1 namespace
-- ARGV 1 worker, then for each job: 'back' or 'bury', id, lease, ties (JSON) or '', attempts and
--      deaths from now on, history entry, reason
-- Returns how many were taken, or -1 if the worker lives.
local worker = ARGV[1]
local deadline = redis.call('ZSCORE', workers, worker)
if deadline and tonumber(deadline) > now_ms then return -1 end
local taken = 0
for arg = 2, #ARGV, 7 do
  local verdict, id, lease, ties = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
  if end_claim(worker, lease, id) then
    redis.call('HSET', attempts, id, ARGV[arg + 4])
    taken = taken + 1
    count('reaped', 1)
    if was_to_be_cancelled(worker, id, lease) then
      end_as('cancelled', id, read_ties(ties), 'cancelled; its worker died while it ran')
    elseif verdict == 'bury' then
      bury(id, read_ties(ties), ARGV[arg + 5], ARGV[arg + 6])
    else
      note(id, ARGV[arg + 5])
      push_front(id)
    end
  end
end
if redis.call('EXISTS', ns .. 'claims:' .. worker) == 0 then
  pending_cancels(worker)
  redis.call('ZREM', workers, worker)
  redis.call('HDEL', ns .. 'workers:info', worker)
end
return taken
