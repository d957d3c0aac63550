-- Claims: what each worker holds. Stands below lanes.lua in every script but those that make jobs without lanes.
-- A field of `claims:<worker>` is a lease; its value has the ids of the jobs that it is for, each with a space behind
-- it: what one pop took, or what one turn took of jobs that have a record of as many attempts. No id is the end of
-- another, so a plain search finds one. See docs/decisions/0031. How a claim begins and ends is in often.lua.

local function end_claim(worker, lease, id) return #end_claims(worker, lease, { id }) == 1 end

-- { lease, ids, ... } job by job: { id, lease, ... }.
local function by_job(leases)
  local held = {}
  for i = 1, #leases, 2 do
    for id in string.gmatch(leases[i + 1], '%S+') do
      held[#held + 1] = id
      held[#held + 1] = leases[i]
    end
  end
  return held
end

-- What a worker holds: { id, lease, ... }.
local function held_by(worker) return by_job(redis.call('HGETALL', ns .. 'claims:' .. worker)) end
