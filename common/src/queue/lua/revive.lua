-- Push dead, scheduled or parked jobs now, or have them wait in their lanes, with their attempts counted anew.
-- KEYS 1 namespace     ARGV 1 '', or ms: only those that are dead, buried then or earlier     ARGV 2.. ids
-- Returns the ids that were pushed.
local until_ms, pushed = tonumber(ARGV[1]), {}
for arg = 2, #ARGV do
  local id = ARGV[arg]
  if is_meant(id, until_ms) then
    local was_dead = redis.call('ZREM', dead, id) == 1
    local was_scheduled = redis.call('ZREM', scheduled, id) == 1
    local was_parked = unpark(id)
    -- Without a body there is nothing to run; the entry was all that was left of it.
    if (was_dead or was_scheduled or was_parked) and has_body(id) then
      redis.call('HSET', attempts, id, '0 0')
      note(id, '{"event":"revived"}')
      redis.call('DEL', ns .. 'result:' .. id) -- it has not ended after all
      lanes.wait(id)
      pushed[#pushed + 1] = id
    end
  end
end
if #pushed > 0 then count('revived', #pushed) end
return pushed
