-- What a step came after: how it ended, what it gave back, and who died of it.
-- KEYS 1 namespace     ARGV 1 flow, 2 step that it came after
-- Returns { 'job', 'all' or '' (nothing is kept of it),
--           { 'well' and output (JSON) or 'failed' and '', for each part, or for the one job },
--           { part, job, task, reason, ... of the dead } }
local flow, key = ARGV[1], ns .. 'flow:' .. ARGV[1]
local step_of = flows().step_of
local deaths = {}

local function add_deaths(part, number)
  local step = step_of(flow, number)
  if not step then return end
  if step.parts then
    for i = 1, #step.parts do
      local last = string.match(redis.call('HGET', key, 'part:' .. number .. ':' .. i) or '', '^failed (%d+)')
      if last then add_deaths(part, last) end
    end
    return
  end
  local id, reason = string.match(redis.call('HGET', key, 'died:' .. number) or '', '^(%S+) (.*)$')
  if id then
    local n = #deaths
    deaths[n + 1], deaths[n + 2], deaths[n + 3], deaths[n + 4] = part, id, step.task, reason
  end
end

-- A part that is an `all` itself gives the list of what its parts gave; of those that failed, null.
local function output_of(number)
  local step = step_of(flow, number)
  if not step then return 'null' end
  if not step.parts then return redis.call('HGET', key, 'output:' .. number) or 'null' end
  local outputs = {}
  for i = 1, #step.parts do
    local last = string.match(redis.call('HGET', key, 'part:' .. number .. ':' .. i) or '', '^well (%d+)')
    outputs[i] = last and output_of(last) or 'null'
  end
  return '[' .. table.concat(outputs, ',') .. ']'
end

local step = step_of(flow, ARGV[2])
if not step then return { '', {}, {} } end
local ends = {}
if not step.parts then
  add_deaths(1, ARGV[2])
  ends = deaths[1] and { 'failed', '' } or { 'well', output_of(ARGV[2]) }
  return { 'job', ends, deaths }
end
for i = 1, #step.parts do
  local how, last = string.match(redis.call('HGET', key, 'part:' .. ARGV[2] .. ':' .. i) or '', '^(%a+) (%d+)$')
  if how == 'well' then
    ends[2 * i - 1], ends[2 * i] = how, output_of(last)
  else
    ends[2 * i - 1], ends[2 * i] = 'failed', ''
    if last then add_deaths(i, last) end
  end
end
return { 'all', ends, deaths }
