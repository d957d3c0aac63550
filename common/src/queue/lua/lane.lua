-- Some lanes.
-- KEYS 1 namespace     ARGV 1 a job or '', 2.. lanes
-- Returns for each lane { lane, jobs in its line, jobs in its slots, limits or '', ms at which its rate lets the next
-- one go or 'inf' or '', how many are before the job in its line or -1 }
local reply = {}
for i = 2, #ARGV do
  local lane = ARGV[i]
  local line = ns .. 'lane:' .. lane
  reply[i - 1] = { lane, redis.call('ZCARD', line), redis.call('SCARD', ns .. 'slots:' .. lane),
    redis.call('HGET', ns .. 'lanes:limits', lane) or '', redis.call('ZSCORE', ns .. 'lanes', lane) or '',
    redis.call('ZRANK', line, ARGV[1]) or -1 }
end
return reply
