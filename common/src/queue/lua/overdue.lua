-- What needs care now: scheduled jobs that are due are pushed; the inboxes are emptied; workers that stopped
-- beating are named.
-- KEYS 1 namespace
-- ARGV 1 how many scheduled jobs, and how many bodies of one inbox, at most; 2 the caller's time to live, ms;
--      3 bytes of one inbox at most, 4 bytes of one body at most
-- Returns { how many were pushed, ms until the next is due or -1, names of dead workers, now, ms,
--           some of the kinds of jobs that are parked, how many left an inbox, 1 if more are in it }
local KINDS = 50 -- of parked jobs, at random: in a few looks each has had its turn
local time_to_live = tonumber(ARGV[2])

-- Nobody looked for a while: Redis was away or its clock was set forward, and who lives could not show
-- it. Everybody gets a whole time to live anew, or all that run would be given to others.
if not redis.call('SET', ns .. 'looked', 1, 'PX', math.floor(time_to_live / 2), 'GET') then
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    redis.call('ZADD', workers, 'GT', now_ms + time_to_live, worker)
  end
end

local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))
if #due > 0 then
  redis.call('ZREM', scheduled, unpack(due))
  for _, id in ipairs(due) do push_back(id) end
end
local next_due = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2]
local wait = next_due and math.max(0, tonumber(next_due) - now_ms) or -1
local from_inbox, more = empty_inboxes(tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]))
return { #due, wait, redis.call('ZRANGEBYSCORE', workers, '-inf', now_ms, 'LIMIT', 0, 10), now_ms,
  redis.call('SRANDMEMBER', ns .. 'parked', KINDS), from_inbox, more and 1 or 0 }
