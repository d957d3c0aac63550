-- Add one chunk of children to a master's group, on the master's queue. A chunk that was added before is
-- passed over, so a master that starts again after a crash goes on where it was.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 master's id, 3 its lease, 4 policy ('continue' or 'fail'), 5 plan, or '' in all calls
--      but the first, 6 index of the chunk's first child, 7 as enqueue.lua's 2, 8.. the children's bodies
-- Returns { index of the next child to add, plan, children that have not settled, now in ms } (the plan is the one
--         that was recorded first; '' if none was sent), or with -1 for the index if the claim is no longer this
--         worker's, -2 if the group is sealed, -3 if children before these are not here.
local worker, master, lease = ARGV[1], ARGV[2], ARGV[3]
if not holds(worker, master, lease) then return { -1, '', 0, now_ms } end
local key = ns .. 'group:' .. master
redis.call('HSETNX', key, 'policy', ARGV[4])
local plan = ''
if ARGV[5] ~= '' then
  redis.call('HSETNX', key, 'plan', ARGV[5])
  plan = redis.call('HGET', key, 'plan')
end
local g = redis.call('HMGET', key, 'sealed', 'total')
if g[1] == '1' then return { -2, plan, 0, now_ms } end
local total, first = tonumber(g[2] or 0), tonumber(ARGV[6])
if first > total then return { -3, '', 0, now_ms } end
local bodies, stamped = { unpack(ARGV, 8 + math.max(0, total - first)) }, ARGV[7] == '1'
if #bodies > 0 then
  -- What is stamped has no lane; that which pushes into lanes is made for others only, as in turn.lua.
  local push = stamped and push_new or make_push_new()
  local ids = push(queue_of(master), bodies, stamped)
  in_chunks(ids, function(...) redis.call('SADD', key .. ':left', ...) end)
  total = total + #bodies
  redis.call('HSET', key, 'total', integer(total))
end
return { total, plan, redis.call('SCARD', key .. ':left'), now_ms }
