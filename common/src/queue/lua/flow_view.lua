-- What is around one step of a flow, for a person.
-- KEYS 1 namespace     ARGV 1 flow, 2 step
-- Returns {} if there is no such flow, or
--         { steps, jobs that are not gone, what its good end starts or '', what its failure starts or '' }
--         and if it is within an `all`
--         { its part, parts, parts that have not ended, that failed, what the good end of that `all` starts,
--           what its failure starts }
local flow, key = ARGV[1], ns .. 'flow:' .. ARGV[1]
local function name_of(number)
  local step = number and step_of(flow, number)
  if not step then return '' end
  return step.task or 'all of ' .. #step.parts
end

local step = step_of(flow, ARGV[2])
if not step then return {} end
local steps = 0
while redis.call('HEXISTS', key, 'step:' .. steps + 1) == 1 do steps = steps + 1 end
local around = { steps, redis.call('HLEN', key .. ':jobs'), name_of(step.well), name_of(step.failed) }
local outer = step.within and step_of(flow, step.within)
if not outer then return { around } end
return { around, { step.part, #outer.parts, tonumber(redis.call('HGET', key, 'left:' .. step.within) or 0),
  tonumber(redis.call('HGET', key, 'failed:' .. step.within) or 0), name_of(outer.well), name_of(outer.failed) } }
