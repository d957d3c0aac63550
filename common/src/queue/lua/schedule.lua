-- Make jobs that wait for their time.
-- KEYS 1 namespace     ARGV 1 queue, 2 'in' or 'at', 3 ms (from now, or since 1970), 4.. bodies
-- Returns the ids, in the order of the bodies, or the error DRAINING.
if redis.call('HEXISTS', ns .. 'draining', ARGV[1]) == 1 then return refuse_draining(ARGV[1]) end
local due = tonumber(ARGV[3])
if ARGV[2] == 'in' then due = now_ms + due end
local ids = {}
for i = 4, #ARGV do
  local id = make_unlisted(ARGV[1], ARGV[i], due)
  schedule(id, due)
  ids[#ids + 1] = id
end
return ids
