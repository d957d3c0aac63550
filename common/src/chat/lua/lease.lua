-- Renew a server's lease, and name the servers whose lease has ended.
-- KEYS 1 namespace     ARGV 1 server, 2 lease, ms
-- Returns { 1 if the lease still ran, names of servers whose lease has ended }
-- One that had ended may have been counted without, even if it is still there: its rooms are told anew.
local lease = redis.call('ZSCORE', servers, ARGV[1])
local running = lease and tonumber(lease) > now_ms
redis.call('ZADD', servers, integer(now_ms + tonumber(ARGV[2])), ARGV[1])
return { running and 1 or 0, redis.call('ZRANGEBYSCORE', servers, '-inf', integer(now_ms), 'LIMIT', 0, 10) }
