-- One page of the jobs in one state.
-- KEYS 1 namespace     ARGV 1 state, 2 queue (waiting), lane (laned), worker (claimed) or kind (parked) or '', 3 from,
--                           4 how many at most
-- Returns { now, ms, entries passed, 1 if there is more, { id, detail, attempts, last history entry, body }... }
-- Detail: '' | due time | lease | time of parking | time of burial. Order: next to run first; of the dead, the latest first.
local state, where, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ids, details, total = {}, {}, 0
if state == 'waiting' then
  total = on_list('LLEN', where) or 0
  local page = on_list('LRANGE', where, -from - limit, -from - 1) or {}
  for at = #page, 1, -1 do ids[#ids + 1] = page[at] end
elseif state == 'laned' then
  total = redis.call('ZCARD', ns .. 'lane:' .. where)
  ids = redis.call('ZRANGE', ns .. 'lane:' .. where, from, from + limit - 1)
elseif state == 'claimed' then
  local held = held_by(where)
  total = #held / 2
  for i = 2 * from + 1, math.min(#held, 2 * (from + limit)), 2 do
    ids[#ids + 1] = held[i]
    details[#ids] = held[i + 1]
  end
else
  local key = ({ dead = dead, scheduled = scheduled, parked = ns .. 'parked:' .. where })[state]
  total = redis.call('ZCARD', key)
  local order = state == 'dead' and 'ZREVRANGE' or 'ZRANGE'
  local page = redis.call(order, key, from, from + limit - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    ids[#ids + 1] = page[i]
    details[#ids] = page[i + 1]
  end
end
local rows = {}
for i, id in ipairs(ids) do
  -- What is listed and does not wait is a leftover: discarded, or a second entry.
  if state ~= 'waiting' or (waits(id) and has_body(id)) then
    rows[#rows + 1] = { id, details[i] or '', tries_of(id), last_entry_of(id), body_of(id) }
  end
end
return { now_ms, #ids, from + #ids < total and 1 or 0, rows }
