-- Tell that somebody follows what happens to jobs; to the heartbeats at once, if nobody did before.
-- KEYS 1 namespace     ARGV 1 for so long, ms
if not redis.call('SET', ns .. 'followed', '1', 'PX', ARGV[1], 'GET') then ring('beat') end
