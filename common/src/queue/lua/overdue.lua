-- What needs care now: scheduled jobs that are due are pushed; lanes whose time has come let jobs go; the
-- inboxes are emptied; workers that stopped beating are named.
-- KEYS 1 namespace
-- ARGV 1 how many scheduled jobs, and how many bodies of one inbox, at most; 2 the caller's time to live, ms;
--      3 bytes of one inbox at most, 4 bytes of one body at most
-- Returns { how many were pushed, ms until the next job or lane is due or -1, names of dead workers, now, ms,
--           some of the kinds of jobs that are parked, how many left an inbox, 1 if more are in it,
--           1 if a pop may be lost: what comes next in some list is not what comes next in line,
--           queues whose list held something before this pushed: who waits for one of them is not heard }
local LANES, SOME = 100, 3 -- lanes that let go by the clock at most; lanes at random whose slots are looked at
local KINDS = 50 -- of parked jobs, at random: in a few looks each has had its turn
local time_to_live = tonumber(ARGV[2])

-- Nobody looked for a while: Redis was away or its clock was set forward, and who lives could not show
-- it. Everybody gets a whole time to live anew, or all that run would be given to others.
if not redis.call('SET', ns .. 'looked', 1, 'PX', math.floor(time_to_live / 2), 'GET') then
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    redis.call('ZADD', workers, 'GT', now_ms + time_to_live, worker)
  end
end

local listed = {}
for _, queue in ipairs({ 'high', 'default', 'low' }) do
  if (on_list('LLEN', queue) or 0) > 0 then listed[#listed + 1] = queue end
end

lanes.in_care = true -- this script tells itself when care is to come again
local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))
if #due > 0 then
  redis.call('ZREM', scheduled, unpack(due))
  for _, id in ipairs(due) do lanes.wait(id) end
end

-- A lane comes by itself as long as its jobs end. By the clock: where its rate holds it up. And a few at
-- random: a slot whose job somebody has deleted by hand would be taken for ever.
if redis.call('EXISTS', ns .. 'lanes') == 1 then
  local ready = redis.call('ZRANGEBYSCORE', ns .. 'lanes', '-inf', now_ms, 'LIMIT', 0, LANES)
  for _, lane in ipairs(ready) do
    redis.call('ZADD', ns .. 'lanes', 'XX', 'inf', lane)
    lanes.let_go(lane)
  end
  for _, lane in ipairs(redis.call('ZRANDMEMBER', ns .. 'lanes', SOME)) do lanes.check_slots(lane) end
end

local next_due = tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2] or 'inf')
next_due = math.min(next_due, tonumber(redis.call('ZRANGE', ns .. 'lanes', 0, 0, 'WITHSCORES')[2] or 'inf'))
local wait = next_due < math.huge and math.max(0, next_due - now_ms) or -1

local to_sweep = 0
for _, queue in ipairs({ 'high', 'default', 'low' }) do
  local state = state_of(queue)
  local tail = on_list('LINDEX', queue, -1)
  local in_line = tail and is_next(state, tail) or not tail and state.cursor == state.last
  if not in_line or redis.call('EXISTS', ns .. 'loose:' .. queue) == 1 then to_sweep = 1 end
end
local from_inbox, more = empty_inboxes(tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]))
return { #due, wait, redis.call('ZRANGEBYSCORE', workers, '-inf', now_ms, 'LIMIT', 0, 10), now_ms,
  redis.call('SRANDMEMBER', ns .. 'parked', KINDS), from_inbox, more and 1 or 0, to_sweep, listed }
