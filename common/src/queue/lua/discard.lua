-- Remove jobs that wait, are scheduled, parked or dead. A claimed job is its worker's.
-- KEYS 1 namespace     ARGV for each job: id, ties (JSON) or ''
-- Returns the ids that were removed.
local removed = {}
for arg = 1, #ARGV, 2 do
  local id = ARGV[arg]
  if redis.call('HEXISTS', jobs, id) == 1 and withdraw(id) then
    end_as('discarded', id, read_ties(ARGV[arg + 1]), 'discarded')
    removed[#removed + 1] = id
  end
end
return removed
