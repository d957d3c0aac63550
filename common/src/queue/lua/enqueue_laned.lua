-- Make jobs waiting, at the back of their queue, or in their lanes.
-- KEYS 1 namespace     ARGV 1 queue, 2.. bodies
-- Returns the ids, in the order of the bodies, or the error DRAINING.
if redis.call('HEXISTS', ns .. 'draining', ARGV[1]) == 1 then return refuse_draining(ARGV[1]) end
return push_new(ARGV[1], { unpack(ARGV, 2) })
