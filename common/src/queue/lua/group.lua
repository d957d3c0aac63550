-- The group of one master.
-- KEYS 1 namespace     ARGV 1 master
-- Returns { policy or '' (there is no group), children, those that have not settled, those that are dead,
--           1 if sealed, { dead child, reason, ... up to FEW } }
local FEW = 5
local key = ns .. 'group:' .. ARGV[1]
local g = redis.call('HMGET', key, 'policy', 'total', 'sealed')
local some = redis.call('HSCAN', key .. ':failed', 0, 'COUNT', FEW)[2]
for at = #some, 2 * FEW + 1, -1 do some[at] = nil end
return { g[1] or '', tonumber(g[2] or 0), redis.call('SCARD', key .. ':left'),
  redis.call('HLEN', key .. ':failed'), g[3] == '1' and 1 or 0, some }
