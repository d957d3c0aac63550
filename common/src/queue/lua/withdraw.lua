-- Taking a job that nobody has claimed out of where it is: it waits, in its queue or its
-- lane, is scheduled, parked or dead.

-- Takes it out; whether it was there. Its body stays. What is still listed of it is passed over.
local function withdraw(id)
  local queue = queue_of(id)
  local found = fresh_number(state_of(queue), id) and 1 or 0
  found = found + redis.call('ZREM', ns .. 'loose:' .. queue, id)
  found = found + redis.call('ZREM', scheduled, id) + redis.call('ZREM', dead, id)
  if unpark(id) then found = found + 1 end
  local lane = lanes.of(id)
  if lane then found = found + lanes.leave_line(id, lane) end
  return found > 0
end
