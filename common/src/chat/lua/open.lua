-- Find out where a room's history begins for somebody who joins it; read it too, if that is wanted.
-- KEYS 1 namespace
-- ARGV 1 room, 2 last id seen or '', 3 how many at most, 4 time to live of a clean room, ms, 5 1 to read
-- Returns {{ 1 if the log is known to be complete from some id on, else 0 (the room is cold);
--            that id; the newest id; members;
--            1 if what is in the log after `after` is all since the last id seen (or, without one, all up to
--            the newest); 1 if there are older ones },
--          { `after`: what is shown begins after this id; 1 if only the archive can tell what came since the
--            last id seen; how many are newer than that; how many are above the watermark, and the first of
--            them (both 0 in a warm room) },
--          entries, oldest first }
local room, since, limit, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
local m = redis.call('HMGET', meta, 'top', 'hydrated_from', 'resting', 'watermark')
local top, from = tonumber(m[1] or 0), tonumber(m[2] or nil)
-- Whoever keeps rooms that have members from leaving does so well within half of that time.
if m[3] and redis.call('PTTL', meta) < ttl / 2 then rest(room, ttl) end

local function first_after(id)
  return redis.call('ZRANGEBYSCORE', log, '(' .. integer(id), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
end
local function count_after(id) return redis.call('ZCOUNT', log, '(' .. integer(id), '+inf') end

-- A warm log ends with the newest message. One that does not was deleted by hand: the room is cold.
if from and newest_of(log) ~= top then
  redis.call('HDEL', meta, 'hydrated_from')
  from = nil
end

-- Below `from` there may be pieces, which a late child of a rehydration has put there: not read.
local lowest = math.max(0, (from or 0) - 1)
local after, newer, complete, behind = nil, 0, since == '' and from ~= nil, false
if since ~= '' then
  local seen = tonumber(since)
  newer = count_after(math.max(seen, lowest))
  complete = from ~= nil and seen <= top and newer <= limit
  if complete and seen < from then
    -- The log begins after the last id seen. Nothing is missing if its first entry follows that one.
    local prev = tonumber(string.match(first_after(lowest)[1] or '', '^%d+ (%d+)'))
    complete = prev ~= nil and prev > 0 and prev <= seen
    behind = not complete
  end
  if complete then after = math.max(seen, lowest) end
end
if not after then
  local oldest = redis.call('ZRANGE', log, -limit, -limit, 'WITHSCORES')[2]
  after = math.max(oldest and tonumber(oldest) - 1 or 0, lowest)
end

local older = from ~= 0
if not older and top > after then
  older = tonumber(redis.call('ZRANGE', log, 0, 0, 'WITHSCORES')[2]) <= after
end
local unflushed, first = 0, nil
if not from then
  local watermark = tonumber(m[4] or 0)
  unflushed, first = count_after(watermark), first_after(watermark)[2]
end
local entries = {}
if ARGV[5] == '1' then entries = redis.call('ZRANGEBYSCORE', log, '(' .. integer(after), '+inf') end
return {
  { from and 1 or 0, integer(from or 0), integer(top), members_of(room), complete and 1 or 0, older and 1 or 0 },
  { integer(after), behind and 1 or 0, newer, unflushed, integer(tonumber(first or 0)) },
  entries,
}
