-- As if time had passed: what the queue keeps in Redis of times is moved into the past. Nothing else has to be
-- told of it, for every script reads Redis's clock.
-- KEYS 1 namespace     ARGV 1 ms
-- Left as they are: the heartbeats of workers, when they vouched for periodic tasks, and what tells that somebody looked for them, and the leases of
-- claims, which must stay what they were.
local ns, by = KEYS[1], tonumber(ARGV[1])
local BY_TIME = { 'scheduled', 'dead', 'lanes' } -- ZSETs with scores in ms; `inf` stays
local PACE = ns .. 'pace:'

local function back(time, by_its_unit) return string.format('%.0f', math.max(0, time - by_its_unit)) end

for _, name in ipairs(redis.call('ZRANGE', ns .. 'periodic', 0, -1)) do
  local entry = ns .. 'periodic:' .. name
  local last = redis.call('HGET', entry, 'last')
  if last then redis.call('HSET', entry, 'last', back(last, by)) end
end
for _, name in ipairs(BY_TIME) do
  local entries = redis.call('ZRANGE', ns .. name, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    if entries[i + 1] ~= 'inf' then redis.call('ZADD', ns .. name, back(entries[i + 1], by), entries[i]) end
  end
end

-- When a job was made, and what for: what can be too late, and a debounced job, are measured by it.
for _, bucket in ipairs(redis.call('KEYS', ns .. 'jobs:*')) do
  local bodies = redis.call('HGETALL', bucket)
  for i = 1, #bodies, 2 do
    local body = string.gsub(bodies[i + 1], '^({"at":)(%d+)', function(head, ms) return head .. back(ms, by) end)
    body = string.gsub(body, '^({"at":%d+,"due":)(%d+)', function(head, ms) return head .. back(ms, by) end)
    redis.call('HSET', bucket, bodies[i], body)
  end
end

-- What expires: outcomes, progress, keys of `once_in`, rates.
for _, key in ipairs(redis.call('KEYS', ns .. '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and key ~= ns .. 'looked' then
    if left <= by then
      redis.call('DEL', key)
    else
      if string.sub(key, 1, #PACE) == PACE then
        redis.call('SET', key, back(redis.call('GET', key), by * 1000), 'KEEPTTL')
      end
      redis.call('PEXPIRE', key, left - by)
    end
  end
end
redis.call('PUBLISH', ns .. 'bell', 'look')
