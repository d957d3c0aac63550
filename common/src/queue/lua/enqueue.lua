-- Make jobs waiting that have no lane, at the back of their queue.
-- KEYS 1 namespace     ARGV 1 queue, 2 1 if the bodies begin with their time already, else 0, 3.. bodies
-- Returns { id of the first, now, ms } (the others' ids follow it, in the order of the bodies), or the error DRAINING.
if redis.call('HEXISTS', ns .. 'draining', ARGV[1]) == 1 then return refuse_draining(ARGV[1]) end
return { push_new(ARGV[1], { unpack(ARGV, 3) }, ARGV[2] == '1')[1], now_ms }
