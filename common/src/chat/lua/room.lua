-- Look at rooms and leave them as they are. Costs the same whatever a log holds.
-- KEYS 1 namespace     ARGV rooms
-- Returns { now, ms, { top, watermark, hydrated_from or '', newest id in the log, entries in the log, those above the
--           watermark, changes that the archive does not show, ms of the oldest that is new or '', ms after which it
--           leaves Redis or below 0, { a flush is under way in this queue or '', a rehydration in this or '',
--           ms up to which it is premium or '' }, { server, members, ms at which its lease ends }... }... }
local rooms = {}
for i, room in ipairs(ARGV) do
  local meta, log = room_key(room, 'meta'), room_key(room, 'log')
  local m = redis.call('HMGET', meta, 'top', 'watermark', 'hydrated_from')
  local watermark = tonumber(m[2] or 0)
  local members = {}
  local by_server = redis.call('HGETALL', room_key(room, 'members'))
  for at = 1, #by_server, 2 do
    local lease = redis.call('ZSCORE', servers, by_server[at]) or '0'
    members[#members + 1] = { by_server[at], tonumber(by_server[at + 1]) or 0, lease }
  end
  rooms[i] = { integer(tonumber(m[1] or 0)), integer(watermark), m[3] or '', integer(newest_of(log)),
    redis.call('ZCARD', log), redis.call('ZCOUNT', log, '(' .. integer(watermark), '+inf'),
    redis.call('ZCARD', room_key(room, 'changed')), redis.call('ZSCORE', dirty, room) or '',
    redis.call('PTTL', meta),
    { redis.call('GET', room_key(room, 'flushing')) or '', redis.call('GET', room_key(room, 'hydrating')) or '',
      redis.call('ZSCORE', ns .. 'premium', room) or '' }, members }
end
return { now_ms, rooms }
