-- Put archived messages back into a room's log. Safe in any order and twice.
-- KEYS 1 namespace     ARGV 1 room, 2 time to live of a clean room, ms, 3.. entries, ascending
-- Returns how many were added.
local room, ttl = ARGV[1], tonumber(ARGV[2])
local log = room_key(room, 'log')
local function id_of(entry) return string.match(entry, '^%d+') end
if #ARGV < 3 then return 0 end
local there = {}
local range = redis.call('ZRANGEBYSCORE', log, id_of(ARGV[3]), id_of(ARGV[#ARGV]))
for _, entry in ipairs(range) do there[id_of(entry)] = true end
local add = {}
for i = 3, #ARGV do
  local id = id_of(ARGV[i])
  if not there[id] then
    add[#add + 1] = id
    add[#add + 1] = ARGV[i]
  end
end
for from = 1, #add, 1000 do
  redis.call('ZADD', log, unpack(add, from, math.min(from + 999, #add)))
end
-- A rehydration that never ends must not leave its pieces behind.
rest(room, ttl)
return #add / 2
