-- All periodic tasks that workers have vouched for.
-- KEYS 1 namespace
-- Returns { now, ms, { name, ms at which a worker vouched for it, { field, value, ... } }... }
local seen = redis.call('ZRANGE', ns .. 'periodic', 0, -1, 'WITHSCORES')
local entries = {}
for i = 1, #seen, 2 do
  entries[#entries + 1] = { seen[i], seen[i + 1], redis.call('HGETALL', ns .. 'periodic:' .. seen[i]) }
end
return { now_ms, entries }
