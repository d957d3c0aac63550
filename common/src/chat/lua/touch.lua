-- Keep rooms that have members from leaving Redis.
-- KEYS 1 namespace     ARGV 1 time to live of a clean room, ms, 2.. rooms
for i = 2, #ARGV do
  if redis.call('HEXISTS', room_key(ARGV[i], 'meta'), 'resting') == 1 then
    rest(ARGV[i], tonumber(ARGV[1]))
  elseif is_dirty(ARGV[i]) then
    redis.call('ZADD', dirty, 'NX', integer(now_ms), ARGV[i])
  end
end
return 1
