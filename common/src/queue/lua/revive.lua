-- Push dead or scheduled jobs now, with their attempts counted anew.
-- KEYS 1 namespace     ARGV ids
-- Returns how many were pushed.
local pushed = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', dead, id) == 1 or redis.call('ZREM', scheduled, id) == 1 then
    redis.call('HSET', attempts, id, '0 0')
    push_back(id)
    pushed = pushed + 1
  end
end
if pushed > 0 then count('revived', pushed) end
return pushed
