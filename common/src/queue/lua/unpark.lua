-- Have parked jobs wait again, behind all that wait, or in their lanes: the caller knows how to run them.
-- KEYS 1 namespace     ARGV 1 how many at most, 2.. kinds: `<queue>:<task>:<version>`
-- Returns { how many wait again, how many of these kinds are still parked }
local limit = tonumber(ARGV[1])
local back, left = 0, 0
for i = 2, #ARGV do
  local kind = ARGV[i]
  local key = ns .. 'parked:' .. kind
  local ids = back < limit and redis.call('ZRANGE', key, 0, limit - back - 1) or {}
  for _, id in ipairs(ids) do
    redis.call('ZREM', key, id)
    -- Without a body there is nothing to run; the entry was all that was left of it.
    if has_body(id) then lanes.wait(id) end
  end
  back = back + #ids
  left = left + redis.call('ZCARD', key)
  drop_kind_if_empty(kind)
end
return { back, left }
