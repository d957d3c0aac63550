-- The claim of the bound with ids: acknowledge the last batch and take the next, from three lists in their order.
-- KEYS 1 to 3 lists of jobs, the most urgent first   4 this claimer's hash   5 its list of a job that it waited for
-- ARGV 1 how many to take   2.. ids of the last batch
-- Returns the jobs.
local held, waited = KEYS[4], KEYS[5]
local wanted = tonumber(ARGV[1])
if #ARGV > 1 then redis.call('HDEL', held, unpack(ARGV, 2)) end
redis.call('DEL', waited)

local taken, fields = {}, {}
for list = 1, 3 do
  local jobs = wanted > #taken and redis.call('RPOP', KEYS[list], wanted - #taken) or {}
  for _, job in ipairs(jobs) do
    taken[#taken + 1] = job
    fields[#fields + 1] = string.match(job, '^{"id":"([^"]*)"')
    fields[#fields + 1] = job
  end
end
if #taken > 0 then redis.call('HSET', held, unpack(fields)) end
return taken
