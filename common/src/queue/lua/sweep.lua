-- Find what was popped and never claimed, and list again what has been missing for too long.
-- KEYS 1 namespace     ARGV 1 how many at most per queue, 2.. ids to list again, if they are still
--                           missing
-- Returns { ids that are missing now, how many were listed again, 1 if there is more to look at }
-- Missing: it waits, and everything that the list holds comes after it.
local limit = tonumber(ARGV[1])
local asked = { high = {}, default = {}, low = {} }
for i = 2, #ARGV do
  local ids = asked[queue_of(ARGV[i])]
  ids[#ids + 1] = ARGV[i]
end

-- Fails, before anything is done, if something else has taken a list's place.
for queue in pairs(asked) do redis.call('LLEN', ns .. 'queue:' .. queue) end

local missing, again, more = {}, 0, 0
for queue, ids in pairs(asked) do
  local list, loose = ns .. 'queue:' .. queue, ns .. 'loose:' .. queue
  local state = state_of(queue)
  local tail, order = tail_of(state)

  -- Move the cursor up to the list: what is between them was popped.
  local listed_from = tail and (fresh_number(state, tail) or state.cursor + 1) or state.last + 1
  local to = math.min(listed_from - 1, state.cursor + limit)
  if to > state.cursor then
    loosen(state, state.cursor + 1, to)
    state.cursor, state.moved = to, true
    keep(state)
  end
  if to < listed_from - 1 then more = 1 end

  -- List again what the caller has seen missing for long enough, the lowest last: it is popped first.
  local lost = {}
  for _, id in ipairs(ids) do
    local place = tonumber(redis.call('ZSCORE', loose, id) or nil)
    if place and (not order or place < order) then lost[#lost + 1] = { id = id, place = place } end
  end
  table.sort(lost, function(one, other) return one.place > other.place end)
  for _, it in ipairs(lost) do
    if has_body(it.id) then
      redis.call('RPUSH', list, it.id)
      order = it.place
      again = again + 1
    else
      redis.call('ZREM', loose, it.id) -- discarded while it was missing
    end
  end

  local below = order and string.format('(%.17g', order) or '+inf'
  local found = redis.call('ZRANGEBYSCORE', loose, '-inf', below, 'LIMIT', 0, limit)
  for _, id in ipairs(found) do missing[#missing + 1] = id end
  if #found == limit then more = 1 end
end
if again > 0 then count('recovered', again) end
return { missing, again, more }
