-- Read a room for somebody who joins it.
-- KEYS 1 namespace     ARGV 1 room, 2 last id seen or '', 3 how many at most, 4 time to live of a clean room, ms
-- Returns { 1 if the log is known to be complete from some id on, else 0 (the room is cold);
--           that id; the newest id; members; 1 if the entries are all since the last id seen (or, without
--           one, all up to the newest); 1 if there are older ones; entries, oldest first }
local room, since, limit, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local meta, log = room_key(room, 'meta'), room_key(room, 'log')
local m = redis.call('HMGET', meta, 'top', 'hydrated_from', 'resting')
local top, from = tonumber(m[1] or 0), tonumber(m[2] or nil)
if m[3] then rest(room, ttl) end

-- A warm log ends with the newest message. One that does not was deleted by hand: the room is cold.
if from and newest_of(log) ~= top then
  redis.call('HDEL', meta, 'hydrated_from')
  from = nil
end

-- Below `from` there may be pieces, which a late child of a rehydration has put there: not read.
local lowest = from and integer(from) or '-inf'
local entries, complete
if since ~= '' then
  local behind = from and tonumber(since) < from
  entries = redis.call('ZRANGEBYSCORE', log, behind and lowest or '(' .. since, '+inf', 'LIMIT', 0, limit + 1)
  complete = from ~= nil and tonumber(since) <= top and #entries <= limit
  if complete and behind then
    -- The log begins after the last id seen. Nothing is missing if its first entry follows that one.
    local prev = tonumber(string.match(entries[1] or '', '^%d+ (%d+)'))
    complete = prev ~= nil and prev > 0 and prev <= tonumber(since)
  end
end
if not complete then
  local newest_first = redis.call('ZREVRANGEBYSCORE', log, '+inf', lowest, 'LIMIT', 0, limit)
  entries = {}
  for i = #newest_first, 1, -1 do entries[#entries + 1] = newest_first[i] end
  if since == '' then complete = from ~= nil end
end

local older = from ~= 0
if entries[1] then
  local oldest = redis.call('ZRANGE', log, 0, 0)[1]
  older = older or oldest ~= entries[1]
end
return { from and 1 or 0, integer(from or 0), integer(top), members_of(room), complete and 1 or 0, older and 1 or 0, entries }
