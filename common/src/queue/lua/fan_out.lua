-- Add one chunk of children to a master's group. A chunk that was added before is passed over, so a
-- master that starts again after a crash goes on where it was.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 master's id, 3 its lease, 4 policy ('continue' or 'fail'), 5 plan, 6 index of the
--      chunk's first child, then for each child: queue, body
-- Returns { index of the next child to add, plan } (the plan is the one that was recorded first), or
--         { -1, '' } if the claim is no longer this worker's, or { -2, plan } if the group is sealed.
local worker, master, lease = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', ns .. 'claims:' .. worker, master) ~= lease then return { -1, '' } end
local key = ns .. 'group:' .. master
redis.call('HSETNX', key, 'policy', ARGV[4])
redis.call('HSETNX', key, 'plan', ARGV[5])
local g = redis.call('HMGET', key, 'plan', 'sealed', 'total')
if g[2] == '1' then return { -2, g[1] } end
local total, index = tonumber(g[3] or 0), tonumber(ARGV[6])
local by_queue, order = {}, {}
for arg = 7, #ARGV, 2 do
  if index >= total then
    local queue = ARGV[arg]
    if not by_queue[queue] then
      by_queue[queue] = {}
      order[#order + 1] = queue
    end
    local bodies = by_queue[queue]
    bodies[#bodies + 1] = ARGV[arg + 1]
    total = total + 1
  end
  index = index + 1
end
for _, queue in ipairs(order) do
  local ids = push_new(queue, by_queue[queue])
  in_chunks(ids, function(...) redis.call('SADD', key .. ':left', ...) end)
end
redis.call('HSET', key, 'total', integer(total))
return { total, g[1] }
