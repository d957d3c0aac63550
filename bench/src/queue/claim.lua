-- The bound's claim: acknowledge the last batch and take the next.
-- KEYS 1 list of jobs   2 this claimer's hash   3 its list of a job that it waited for
-- ARGV 1 size of the last batch, whose fields are 1.. in the hash   2 how many to take
-- Returns the jobs.
local list, held, waited = KEYS[1], KEYS[2], KEYS[3]
local done = tonumber(ARGV[1])
if done > 0 then
  local fields = {}
  for i = 1, done do fields[i] = i end
  redis.call('HDEL', held, unpack(fields))
end
redis.call('DEL', waited)

local jobs = redis.call('RPOP', list, ARGV[2])
if not jobs then return {} end
local fields = {}
for i, job in ipairs(jobs) do
  fields[2 * i - 1], fields[2 * i] = i, job
end
redis.call('HSET', held, unpack(fields))
return jobs
