-- One chunk of the walk over what points at jobs: which entries point at nothing?
-- KEYS 1 namespace     ARGV 1 kind: scheduled, dead, parked, attempts, claims, left; 2 kind of parked jobs,
--                           worker or master or '';
--                           3 cursor, 4 how many (about)
-- Returns { next cursor, entries seen, { problem, id, where, ... } }
local kind, of, cursor, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local scans = {
  scheduled = { 'ZSCAN', scheduled, 2 },
  dead = { 'ZSCAN', dead, 2 },
  parked = { 'ZSCAN', ns .. 'parked:' .. of, 2 },
  attempts = { 'HSCAN', attempts, 2 },
  claims = { 'HSCAN', ns .. 'claims:' .. of, 2 },
  left = { 'SSCAN', ns .. 'group:' .. of .. ':left', 1 },
}
local command, key, step = unpack(scans[kind])
local page = redis.call(command, key, cursor, 'COUNT', wanted)
local problems = {}
for i = 1, #page[2], step do
  local id = page[2][i]
  local at = #problems
  if not has_body(id) then
    problems[at + 1], problems[at + 2], problems[at + 3] = 'no_body_' .. kind, id, of
  elseif kind == 'claims' then
    local places = places_of(id)
    if #places > 0 then
      problems[at + 1], problems[at + 2], problems[at + 3] = 'twice', id, 'claimed and ' .. places[1]
    end
  end
end
return { page[1], #page[2] / step, problems }
