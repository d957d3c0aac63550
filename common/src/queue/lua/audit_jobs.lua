-- One chunk of the walk over the bodies of a bucket: where is each job? Each answer is true of one instant, so a
-- job that moves meanwhile is never taken for a lost one.
-- KEYS 1 namespace     ARGV 1 bucket, 2 cursor, 3 how many (about), 4.. workers that hold jobs and are not
--                      known
-- Returns { next cursor, { queue, state, jobs, ... }, { problem, id, where, ... },
--           { queue, highest number of a pushed id, of an unlisted one: above what the mark says, ... } }
local strangers = {}
for i = 4, #ARGV do strangers[#strangers + 1] = ARGV[i] end
local function held_by_stranger(id)
  for _, worker in ipairs(strangers) do
    if lease_of(worker, id) then return true end
  end
  return false
end

local is_queue = { high = true, default = true, low = true }
local tally, problems, highest = {}, {}, {}
local function problem(name, id, where)
  local n = #problems
  problems[n + 1], problems[n + 2], problems[n + 3] = name, id, where
end
local function add(queue, state)
  tally[queue] = tally[queue] or {}
  tally[queue][state] = (tally[queue][state] or 0) + 1
end

-- Numbers above the mark's would be given out a second time.
local function check_number(queue, sign, digits)
  local mark = mark_of(queue)
  mark.later = mark.later or tonumber(redis.call('HGET', ns .. 'mark:' .. queue, 'later') or 0)
  local number = tonumber(digits)
  highest[queue] = highest[queue] or { 0, 0 }
  if sign == '-' and number > mark.last then
    highest[queue][1] = math.max(highest[queue][1], number)
  elseif sign == '+' and number > mark.later then
    highest[queue][2] = math.max(highest[queue][2], number)
  end
end

local function account_for(id)
  local queue, sign, digits = string.match(id, '^(%a+)([-+])([1-9]%d*)$')
  if not is_queue[queue] or bucket_of(id) ~= ns .. 'jobs:' .. ARGV[1] then return problem('no_id', id, ARGV[1]) end
  check_number(queue, sign, digits)
  local places = places_of(id)
  if #places == 0 and (holder_of(id) or held_by_stranger(id)) then places[1] = 'claimed' end
  add(queue, places[1] or 'nowhere')
  if #places == 0 then problem('nowhere', id, '') end
  if #places > 1 then problem('twice', id, table.concat(places, ' and ')) end
end

local page = redis.pcall('HSCAN', ns .. 'jobs:' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
if page.err then
  problem('not_a_bucket', ARGV[1], '')
  page = { '0', {} }
end
for i = 1, #page[2], 2 do
  local id = page[2][i]
  account_for(id)
  local _, lane = lanes.in_body(page[2][i + 1])
  if lane and lanes.of(id) ~= lane then problem('unlaned', id, lane) end
end

local tallies, above = {}, {}
for queue, states in pairs(tally) do
  for state, n in pairs(states) do
    local at = #tallies
    tallies[at + 1], tallies[at + 2], tallies[at + 3] = queue, state, n
  end
end
for queue, numbers in pairs(highest) do
  if numbers[1] > 0 or numbers[2] > 0 then
    local at = #above
    above[at + 1], above[at + 2], above[at + 3] = queue, numbers[1], numbers[2]
  end
end
return { page[1], tallies, problems, above }
