-- What is around one step of a flow, for a person.
-- KEYS 1 namespace     ARGV 1 flow, 2 step
-- Returns {} if there is no such flow, or { { steps, jobs that are not gone, what the good end of this one starts
--         or '', what its failure starts or '', then of the `all` that it is in, or zeros: which part it is,
--         parts, parts that have not ended, that failed, what its good end starts, what its failure starts } }
local flow, key = ARGV[1], ns .. 'flow:' .. ARGV[1]
local step_of = flows().step_of
local function name_of(number)
  local step = number and step_of(flow, number)
  if not step then return '' end
  return step.task or 'all of ' .. #step.parts
end

local step = step_of(flow, ARGV[2])
if not step then return {} end
local steps = 0
while redis.call('HEXISTS', key, 'step:' .. steps + 1) == 1 do steps = steps + 1 end
local outer = step.within and step_of(flow, step.within)
local function number_of(what) return outer and tonumber(redis.call('HGET', key, what .. step.within) or 0) or 0 end
return { { steps, redis.call('HLEN', key .. ':jobs'), name_of(step.well), name_of(step.failed),
  outer and step.part or 0, outer and #outer.parts or 0, number_of('left:'), number_of('failed:'),
  name_of(outer and outer.well), name_of(outer and outer.failed) } }
