-- How many bodies there are at this instant. What it takes from ARGV, from 2 on: the number of
-- buckets that a walk over the keys has found, their names; then for each of the three queues its name and the highest
-- numbers of pushed and of unlisted ids before that walk. A bucket that began since is of a later number.
local AFTER_BUCKETS = 2 + tonumber(ARGV[2]) + 10 -- the place of the next argument

local function count_bodies()
  local sum, counted = 0, {}
  local function add(name)
    local length = not counted[name] and redis.pcall('HLEN', ns .. 'jobs:' .. name)
    if type(length) == 'number' then sum = sum + length end
    counted[name] = true
  end
  for arg = 3, 2 + tonumber(ARGV[2]) do add(ARGV[arg]) end
  for arg = AFTER_BUCKETS - 9, AFTER_BUCKETS - 1, 3 do
    local queue = ARGV[arg]
    local given_out = redis.call('HMGET', ns .. 'mark:' .. queue, 'last', 'later')
    for nth, sign in ipairs({ '-', '+' }) do
      local before, now = tonumber(ARGV[arg + nth]), tonumber(given_out[nth] or 0)
      for bucket = math.floor(before / BUCKET), math.floor(now / BUCKET) do add(queue .. sign .. integer(bucket)) end
    end
  end
  return sum
end
