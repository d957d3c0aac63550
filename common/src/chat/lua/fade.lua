-- Take the members of a dead server out of its rooms, some rooms at a time.
-- KEYS 1 namespace     ARGV 1 server, 2 how many rooms at most
-- Returns { rooms that were looked at, rooms that are empty now }
local server = ARGV[1]
local lease = redis.call('ZSCORE', servers, server)
if lease and tonumber(lease) > now_ms then return { 0, {} } end
local rooms = redis.call('SPOP', ns .. 'server:' .. server .. ':rooms', tonumber(ARGV[2]))
local empty = {}
for _, room in ipairs(rooms) do
  redis.call('HDEL', room_key(room, 'members'), server)
  local total = members_of(room)
  tell(room, 'p ' .. total)
  if total == 0 then empty[#empty + 1] = room end
end
if #rooms < tonumber(ARGV[2]) then redis.call('ZREM', servers, server) end
return { #rooms, empty }
