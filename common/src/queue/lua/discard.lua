-- Remove jobs that wait, are scheduled, parked or dead. A claimed job is its worker's.
-- KEYS 1 namespace     ARGV for each job: id, ties (JSON) or ''
-- Returns the ids that were removed.
local removed = {}
for arg = 1, #ARGV, 2 do
  local id = ARGV[arg]
  local queue = queue_of(id)
  if redis.call('HEXISTS', jobs, id) == 1 then
    local found = fresh_number(state_of(queue), id) and 1 or 0 -- its entry in the list is passed over
    found = found + redis.call('ZREM', ns .. 'loose:' .. queue, id)
    found = found + redis.call('ZREM', scheduled, id) + redis.call('ZREM', dead, id)
    if unpark(id) then found = found + 1 end
    if found > 0 then
      forget(id)
      count('discarded:' .. queue, 1)
      finish(id, read_ties(ARGV[arg + 1]), 'discarded')
      removed[#removed + 1] = id
    end
  end
end
return removed
