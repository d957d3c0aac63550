-- Remove jobs that wait, are scheduled or are dead. A claimed job is its worker's.
-- KEYS 1 namespace     ARGV pairs of id and group it is a child of, or ''
-- Returns the ids that were removed.
local removed = {}
for arg = 1, #ARGV, 2 do
  local id, group = ARGV[arg], ARGV[arg + 1]
  local queue = queue_of(id)
  local waits = (fresh_number(state_of(queue), id) and redis.call('HEXISTS', jobs, id) == 1)
    or redis.call('ZREM', ns .. 'loose:' .. queue, id) == 1
  if waits or redis.call('ZREM', scheduled, id) == 1 or redis.call('ZREM', dead, id) == 1 then
    forget(id)
    leave_group(group, id, 'discarded')
    redis.call('DEL', ns .. 'group:' .. id, ns .. 'group:' .. id .. ':left', ns .. 'group:' .. id .. ':failed')
    count('discarded:' .. queue, 1)
    removed[#removed + 1] = id
  end
end
return removed
