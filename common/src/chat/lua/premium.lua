-- Somebody premium is in a room: for a while its jobs go before all others.
-- KEYS 1 namespace     ARGV 1 room, 2 for how long, ms
local premium = ns .. 'premium'
redis.call('ZREMRANGEBYSCORE', premium, '-inf', integer(now_ms))
redis.call('ZADD', premium, 'GT', integer(now_ms + tonumber(ARGV[2])), ARGV[1])
