-- Remove jobs that wait, are scheduled, parked or dead. A claimed job is its worker's.
-- KEYS 1 namespace     ARGV 1 '', or ms: only those that are dead, buried then or earlier
--                      ARGV 2.. for each job: id, ties (JSON) or ''
-- Returns the ids that were removed.
local until_ms, removed = tonumber(ARGV[1]), {}
for arg = 2, #ARGV, 2 do
  local id = ARGV[arg]
  if is_meant(id, until_ms) and has_body(id) and withdraw(id) then
    end_as('discarded', id, read_ties(ARGV[arg + 1]), 'discarded')
    removed[#removed + 1] = id
  end
end
return removed
