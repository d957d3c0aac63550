-- Look again at what an audit suspects, and repair what is still so. Each repair re-checks and acts in
-- the same step, so a job that has moved is left alone.
-- KEYS 1 namespace     ARGV 1 'look' or 'mend', then as in count.lua, then triples: problem, subject, where
-- Returns triples: index of the suspect (from 1), 1 if it was repaired, what was done
local mend = ARGV[1] == 'mend'
local PATIENCE = 10000 -- ms that a worker that was off the list has to beat
local MOST = 20000 -- ids that one step may loosen

-- Back to where it was: its history and its times tell.
local function put_back(id)
  local entry = last_entry_of(id)
  local event = string.match(entry, '"event":"([a-z_]+)"')
  local buried = event == 'buried' or event == 'group_failed' or event == 'refused'
  local due = tonumber(string.match(body_of(id), '^{"at":%d+,"due":(%d+)') or 0)
  count('recovered', 1)
  redis.call('ZREM', ns .. 'parked:' .. kind_of(id), id) -- if the list of kinds is gone, it may be there
  if buried then
    redis.call('ZADD', dead, string.match(entry, '^{"at_ms":(%d+)') or now_ms, id)
    return 'dead again, as its history says'
  elseif due > now_ms then
    redis.call('ZADD', scheduled, due, id)
    return 'scheduled again'
  end
  local lane = lanes.of(id)
  if lane then redis.call('SREM', ns .. 'slots:' .. lane, id) end
  lanes.wait(id)
  return 'waiting again'
end

-- Each: whether it is so now, and the repair, if there is one.
local problems = {
  nowhere = {
    function(id) return has_body(id) and #places_of(id) == 0 and not holder_of(id) end,
    put_back,
  },
  unlaned = {
    function(id, lane) return has_body(id) and lanes.of(id) ~= lane end,
    function(id) lanes.set(id, body_of(id)) return 'known to go through its lane again' end,
  },
  no_slot = {
    function(id, lane) return lanes.of(id) == lane and not has_slot(id, lane) and needs_slot(id) end,
    function(id, lane)
      redis.call('SADD', ns .. 'slots:' .. lane, id)
      lanes.let_go(lane)
      return 'counted again'
    end,
  },
  idle_slot = {
    function(id, lane) return has_slot(id, lane) and not needs_slot(id) end,
    function(id, lane) lanes.leave(id, lane) return 'freed' end,
  },
  no_body_lane = {
    function(id, lane) return redis.call('ZSCORE', ns .. 'lane:' .. lane, id) and not has_body(id) end,
    function(id, lane) lanes.leave_line(id, lane) lanes.let_go(lane) return 'entry removed' end,
  },
  no_body_lane_jobs = {
    function(id) return redis.call('HEXISTS', ns .. 'lanes:jobs', id) == 1 and not has_body(id) end,
    function(id) redis.call('HDEL', ns .. 'lanes:jobs', id) return 'entry removed' end,
  },
  no_body_unique = {
    function(key, id) return redis.call('HGET', ns .. 'unique', key) == id and not has_body(id) end,
    function(key) redis.call('HDEL', ns .. 'unique', key) return 'entry removed' end,
  },
  sleeping_lane = {
    function(lane)
      return redis.call('EXISTS', ns .. 'lane:' .. lane, ns .. 'slots:' .. lane) > 0
        and not redis.call('ZSCORE', ns .. 'lanes', lane)
    end,
    function(lane) lanes.check_slots(lane) return 'listed again' end,
  },
  -- Subject: how many are in line, by count. Once all lanes are listed.
  miscount = {
    function()
      local there = 0
      for _, lane in ipairs(redis.call('ZRANGE', ns .. 'lanes', 0, -1)) do
        there = there + redis.call('ZCARD', ns .. 'lane:' .. lane)
      end
      return there ~= tonumber(redis.call('GET', ns .. 'lanes:waiting') or 0) and there + 1 -- 0 is true in Lua, not in Redis
    end,
    function(_, _, there)
      redis.call('DEL', ns .. 'lanes:waiting')
      if there > 1 then redis.call('SET', ns .. 'lanes:waiting', integer(there - 1)) end
      return 'set right'
    end,
  },
  twice = { function() return true end },
  no_id = {
    function(field, bucket) return redis.pcall('HEXISTS', ns .. 'jobs:' .. bucket, field) == 1 end,
  },
  no_body_scheduled = {
    function(id) return redis.call('ZSCORE', scheduled, id) and not has_body(id) end,
    function(id) redis.call('ZREM', scheduled, id) return 'entry removed' end,
  },
  no_body_dead = {
    function(id) return redis.call('ZSCORE', dead, id) and not has_body(id) end,
    function(id) redis.call('ZREM', dead, id) return 'entry removed' end,
  },
  no_body_parked = {
    function(id, kind) return redis.call('ZSCORE', ns .. 'parked:' .. kind, id) and not has_body(id) end,
    function(id, kind)
      redis.call('ZREM', ns .. 'parked:' .. kind, id)
      drop_kind_if_empty(kind)
      return 'entry removed'
    end,
  },
  no_body_attempts = {
    function(id) return redis.call('HEXISTS', attempts, id) == 1 and not has_body(id) end,
    function(id) redis.call('HDEL', attempts, id) return 'entry removed' end,
  },
  no_body_history = {
    function(id) return redis.call('EXISTS', ns .. 'history:' .. id) == 1 and not has_body(id) end,
    function(id) redis.call('DEL', ns .. 'history:' .. id) return 'history removed' end,
  },
  no_body_claims = {
    function(id, worker) return lease_of(worker, id) and not has_body(id) end,
  },
  no_body_left = {
    function(id, master)
      return redis.call('SISMEMBER', ns .. 'group:' .. master .. ':left', id) == 1 and not has_body(id)
    end,
    function(id, master)
      leave_group(master, id, 'lost: its body was gone')
      return 'counted as failed, so that the group can end'
    end,
  },
  no_body_flow = {
    function(id, flow)
      return redis.call('HEXISTS', ns .. 'flow:' .. flow .. ':jobs', id) == 1 and not has_body(id) and not flows().hands_on(id)
    end,
    function(id, flow)
      local place = { id = flow, step = tonumber(redis.call('HGET', ns .. 'flow:' .. flow .. ':jobs', id)) }
      flows().end_step(place, id, 'lost: its body was gone')
      flows().leave(place, id)
      return 'counted as failed'
    end,
  },
  jobless_flow = {
    function(flow)
      local key = ns .. 'flow:' .. flow
      return redis.call('EXISTS', key) == 1 and redis.call('EXISTS', key .. ':jobs') == 0
    end,
    function(flow) redis.call('DEL', ns .. 'flow:' .. flow) return 'removed' end,
  },
  unfired = {
    function(master)
      local key = ns .. 'group:' .. master
      local g = redis.call('HMGET', key, 'sealed', 'fired')
      return g[1] == '1' and g[2] ~= '1' and redis.call('EXISTS', key .. ':left') == 0
    end,
    function(master) fire_if_done(master) return 'what follows is enqueued' end,
  },
  unknown_worker = {
    function(worker)
      return redis.call('EXISTS', ns .. 'claims:' .. worker) == 1 and not redis.call('ZSCORE', workers, worker)
    end,
    function(worker)
      redis.call('ZADD', workers, now_ms + PATIENCE, worker)
      known_workers = nil
      return 'listed again; if it does not beat within 10 s, its jobs are given back'
    end,
  },
  stray = {
    function(text, queue) return on_list('LPOS', queue, text) end,
    function(text, queue) redis.call('LREM', ns .. 'queue:' .. queue, 0, text) return 'removed from the list' end,
  },
  -- Subject: queue. Where: the highest numbers in use, of pushed and of unlisted ids.
  low_mark = {
    function(queue, numbers)
      local pushed, unlisted = string.match(numbers, '^(%d+) (%d+)$')
      local later = tonumber(redis.call('HGET', ns .. 'mark:' .. queue, 'later') or 0)
      return state_of(queue).last < tonumber(pushed) or later < tonumber(unlisted)
    end,
    function(queue, numbers)
      local pushed, unlisted = string.match(numbers, '^(%d+) (%d+)$')
      local key, state = ns .. 'mark:' .. queue, state_of(queue)
      if state.last < tonumber(pushed) then
        -- What waits by its number alone must wait by name before the cursor jumps over it.
        local to = math.min(state.last, state.cursor + MOST)
        loosen(state, state.cursor + 1, to)
        redis.call('HSET', key, 'cursor', integer(to))
        marks[queue] = nil
        if to < state.last then return nil end -- the caller comes again
        redis.call('HSET', key, 'last', pushed, 'cursor', pushed)
      end
      local later = tonumber(redis.call('HGET', key, 'later') or 0)
      if later < tonumber(unlisted) then redis.call('HSET', key, 'later', unlisted) end
      marks[queue] = nil
      return 'raised, so that no number is given out twice'
    end,
  },
  not_a_bucket = { function(bucket) return type(redis.pcall('HLEN', ns .. 'jobs:' .. bucket)) ~= 'number' end },
  not_a_list = { function(queue) return not on_list('LLEN', queue) end },
  -- More was enqueued than is completed, discarded, written off or here. Subject: how many. Where: the
  -- queue, if the walk could tell.
  imbalance = {
    function(missing, queue)
      if queue ~= '' then return tonumber(missing) end
      local sum = owed(redis.call('HGETALL', stats)) - count_bodies()
      return sum ~= 0 and sum or nil
    end,
    function(_, queue, missing)
      count(queue == '' and 'lost' or 'lost:' .. queue, missing)
      return 'written off in `stats` as `lost`'
    end,
  },
}

local reply = {}
for arg = AFTER_BUCKETS, #ARGV, 3 do
  local subject, where = ARGV[arg + 1], ARGV[arg + 2]
  local is_so, repair = unpack(problems[ARGV[arg]])
  local so = is_so(subject, where)
  if so then
    local done = mend and repair and repair(subject, where, so)
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = (arg - AFTER_BUCKETS) / 3 + 1, done and 1 or 0, done or ''
  end
end
return reply
