-- End jobs for good that are not to run, or to run no longer. What nobody has claimed ends here; whoever
-- runs one is asked, and its next heartbeat tells it.
-- KEYS 1 namespace     ARGV for each job: id, ties (JSON) or ''
-- Returns for each job: 'cancelled' | 'asked' | 'nowhere' (for an audit to mend), or what is kept of its
-- end (JSON), or '' if nothing is
local reply, asked = {}, false
for arg = 1, #ARGV, 2 do
  local id = ARGV[arg]
  local answer
  if not has_body(id) then
    answer = redis.call('GET', ns .. 'result:' .. id) or ''
  elseif withdraw(id) then
    end_as('cancelled', id, read_ties(ARGV[arg + 1]), 'cancelled')
    answer = 'cancelled'
  else
    local worker, lease = holder_of(id)
    answer = worker and 'asked' or 'nowhere'
    if worker then
      redis.call('HSET', ns .. 'cancels:' .. worker, id, lease)
      asked = true
    end
  end
  reply[#reply + 1] = answer
end
if asked then ring('beat') end
return reply
