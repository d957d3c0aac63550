-- Write down what somebody is about to do by hand, and tell who follows.
-- KEYS 1 namespace     ARGV 1 entries to keep, 2 by whom, 3 what, 4 to what, 5 the event (JSON, without its time)
redis.call('XADD', ns .. 'actions', 'MAXLEN', '~', ARGV[1], '*', 'by', ARGV[2], 'did', ARGV[3], 'of', ARGV[4])
local event = string.gsub(ARGV[5], '"at_ms":0', '"at_ms":' .. integer(now_ms), 1)
redis.call('PUBLISH', ns .. 'events', event)
