-- Renew a server's lease, and name the servers whose lease has ended.
-- KEYS 1 namespace     ARGV 1 server, 2 lease, ms
-- Returns { 1 if the lease still ran, names of servers whose lease has ended }
local running = redis.call('ZSCORE', servers, ARGV[1])
redis.call('ZADD', servers, now_ms + tonumber(ARGV[2]), ARGV[1])
return { running and 1 or 0, redis.call('ZRANGEBYSCORE', servers, '-inf', now_ms, 'LIMIT', 0, 10) }
