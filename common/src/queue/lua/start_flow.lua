-- Start a flow: keep its steps, push the jobs that it begins with.
-- KEYS 1 namespace     ARGV 1 number of the first step, then for each step from 1: the step (JSON), and its
--                           job's body, or '' if it is none
-- Returns the flow's id, or the error DRAINING if a queue of any of its steps takes no new jobs. A flow that
-- runs goes on.
local function draining_queue()
  if redis.call('EXISTS', ns .. 'draining') == 0 then return nil end
  for arg = 2, #ARGV, 2 do
    local queue = cjson.decode(ARGV[arg]).queue
    if queue and redis.call('HEXISTS', ns .. 'draining', queue) == 1 then return queue end
  end
end
local closed = draining_queue()
if closed then return refuse_draining(closed) end

local flow
repeat -- `stats` may have been deleted by hand
  flow = integer(redis.call('HINCRBY', stats, 'flows', 1))
until redis.call('EXISTS', ns .. 'flow:' .. flow, ns .. 'flow:' .. flow .. ':jobs') == 0
local key = ns .. 'flow:' .. flow
local fields = {}
for arg = 2, #ARGV, 2 do
  local n = #fields
  fields[n + 1], fields[n + 2] = 'step:' .. arg / 2, ARGV[arg]
  if ARGV[arg + 1] ~= '' then fields[n + 3], fields[n + 4] = 'body:' .. arg / 2, ARGV[arg + 1] end
end
in_chunks(fields, function(...) redis.call('HSET', key, ...) end)
flows().bear(flow, function() flows().start_step(flow, tonumber(ARGV[1])) end)
-- A flow without a job has ended.
if redis.call('EXISTS', key .. ':jobs') == 0 then redis.call('DEL', key) end
return flow
