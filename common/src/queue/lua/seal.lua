-- No more children will come: from now on the last one to settle enqueues what follows.
-- KEYS 1 namespace
-- ARGV 1 worker, 2 master's id, 3 its lease, 4 body of what follows, 5 the master's place in a flow (JSON),
--      which what follows takes, or '', 6 how many children it has named
-- Returns 1, or -1 if the claim is no longer this worker's, or -3 if children are not here. Sealing twice has no effect.
local worker, master, lease = ARGV[1], ARGV[2], ARGV[3]
if not holds(worker, master, lease) then return -1 end
local key = ns .. 'group:' .. master
local g = redis.call('HMGET', key, 'sealed', 'total')
if g[1] ~= '1' then
  if tonumber(ARGV[6]) > tonumber(g[2] or 0) then return -3 end
  redis.call('HSET', key, 'sealed', 1, 'body', ARGV[4])
  if ARGV[5] ~= '' then redis.call('HSET', key, 'flow', ARGV[5]) end
  fire_if_done(master)
end
return 1
