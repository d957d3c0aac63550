-- Say how many members of a room are connected to one server.
-- KEYS 1 namespace     ARGV 1 server, 2 lease, ms, 3 room, 4 members on this server
-- Returns the members on all servers.
local server, room, here = ARGV[1], ARGV[3], tonumber(ARGV[4])
redis.call('ZADD', servers, 'NX', integer(now_ms + tonumber(ARGV[2])), server)
if here > 0 then
  redis.call('HSET', room_key(room, 'members'), server, here)
  redis.call('SADD', ns .. 'server:' .. server .. ':rooms', room)
else
  redis.call('HDEL', room_key(room, 'members'), server)
  redis.call('SREM', ns .. 'server:' .. server .. ':rooms', room)
end
local total = members_of(room)
tell(room, 'p ' .. total)
return total
