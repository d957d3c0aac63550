-- Read a room for somebody who joins it.
-- KEYS 1 namespace     ARGV 1 room, 2 last id seen or '', 3 how many at most, 4 time to live of a clean room, ms
-- Returns { 1 if the log is known to be complete from some id on, else 0 (the room is cold);
--           that id; the newest id; members; 1 if the entries are all since the last id seen (or, without
--           one, all up to the newest); 1 if there are older ones; entries, oldest first }
local room, since, limit, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local log = room_key(room, 'log')
local m = redis.call('HMGET', room_key(room, 'meta'), 'top', 'hydrated_from', 'resting')
local top, from = tonumber(m[1] or 0), tonumber(m[2] or nil)
if m[3] then rest(room, ttl) end

local entries, complete
if since ~= '' then
  entries = redis.call('ZRANGEBYSCORE', log, '(' .. since, '+inf', 'LIMIT', 0, limit + 1)
  complete = from ~= nil and tonumber(since) <= top and #entries <= limit
  if complete and #entries > 0 and from > tonumber(since) then
    -- The log may begin after the last id seen. It does not if its first entry follows that one.
    local prev = tonumber(string.match(entries[1], '^%d+ (%d+)'))
    complete = prev > 0 and prev <= tonumber(since)
  end
end
if not complete then
  entries = redis.call('ZRANGE', log, -limit, -1)
  if since == '' then complete = from ~= nil end
end

local older = from ~= 0
if entries[1] then
  local oldest = redis.call('ZRANGE', log, 0, 0)[1]
  older = older or oldest ~= entries[1]
end
return { from and 1 or 0, integer(from or 0), integer(top), members_of(room), complete and 1 or 0, older and 1 or 0, entries }
