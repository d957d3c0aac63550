-- A rehydration begins: from here on it must be seen if the room's keys go before its end.
-- KEYS 1 namespace     ARGV 1 room, 2 time to live of a clean room, ms
-- Returns the mark that the room's meta bears for as long as it stays; masters at once share one.
local room, ttl = ARGV[1], tonumber(ARGV[2])
local meta = room_key(room, 'meta')
redis.call('HSETNX', meta, 'mark', integer(now_us))
rest(room, ttl)
return redis.call('HGET', meta, 'mark')
