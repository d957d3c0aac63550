-- Remove jobs that wait, are scheduled or are dead. A claimed job is its worker's.
-- KEYS 1 namespace
-- ARGV for each job: id, group that it is a child of or '', group that it follows or ''
-- Returns the ids that were removed.
local removed = {}
for arg = 1, #ARGV, 3 do
  local id, group, follows = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  local queue = queue_of(id)
  if redis.call('HEXISTS', jobs, id) == 1 then
    local found = fresh_number(state_of(queue), id) and 1 or 0 -- its entry in the list is passed over
    found = found + redis.call('ZREM', ns .. 'loose:' .. queue, id)
    found = found + redis.call('ZREM', scheduled, id) + redis.call('ZREM', dead, id)
    if found > 0 then
      forget(id)
      count('discarded:' .. queue, 1)
      -- A group that it sealed still owes what follows; one that it did not is given up.
      settle_master(id)
      if follows ~= '' then redis.call('DEL', ns .. 'group:' .. follows .. ':failed') end
      leave_group(group, id, 'discarded')
      removed[#removed + 1] = id
    end
  end
end
return removed
