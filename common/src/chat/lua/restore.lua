-- Put archived messages back into a room's log. Safe in any order and twice.
-- KEYS 1 namespace     ARGV 1 room, 2 time to live of a clean room, ms, 3.. entries, ascending
-- Returns how many were added.
local room, ttl = ARGV[1], tonumber(ARGV[2])
local log, changed = room_key(room, 'log'), room_key(room, 'changed')
if #ARGV < 3 then return 0 end
local there = {}
local range = redis.call('ZRANGEBYSCORE', log, id_of(ARGV[3]), id_of(ARGV[#ARGV]))
for _, entry in ipairs(range) do there[id_of(entry)] = entry end

-- An archived entry as the changes make it that came since it was read.
local any_changes = redis.call('EXISTS', changed) == 1
local function up_to_date(entry)
  local by = any_changes and redis.call('ZSCORE', changed, id_of(entry))
  if not by or is_deleted(entry) or tonumber(by) <= edited_at(entry) then return entry end
  local change = entry_at(log, by)
  if not change then return entry end
  local text = string.match(change, ',"message":(".*"),"edits":%d+')
  return amended(entry, by, text or '""', not text)
end

local add, stale = {}, {}
for i = 3, #ARGV do
  local entry = up_to_date(ARGV[i])
  local other = there[id_of(entry)]
  if not other or is_newer(entry, other) then
    if other then stale[#stale + 1] = other end
    add[#add + 1] = id_of(entry)
    add[#add + 1] = entry
  end
end
for from = 1, #add, 1000 do
  redis.call('ZADD', log, unpack(add, from, math.min(from + 999, #add)))
end
for _, other in ipairs(stale) do redis.call('ZREM', log, other) end
-- A rehydration that never ends must not leave its pieces behind.
rest(room, ttl)
return #add / 2 - #stale
