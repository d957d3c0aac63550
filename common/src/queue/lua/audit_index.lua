-- One chunk of the walk over what points at jobs: which entries point at nothing?
-- KEYS 1 namespace     ARGV 1 kind: scheduled, dead, parked, attempts, claims, left, lane_jobs, lane, slots,
--                           unique, flow;
--                           2 kind of parked jobs, worker, master, lane, flow or '';
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
  lane_jobs = { 'HSCAN', ns .. 'lanes:jobs', 2 },
  lane = { 'ZSCAN', ns .. 'lane:' .. of, 2 },
  slots = { 'SSCAN', ns .. 'slots:' .. of, 1 },
  unique = { 'HSCAN', ns .. 'unique', 2 },
  flow = { 'HSCAN', ns .. 'flow:' .. of .. ':jobs', 2 },
}
local command, key, step = unpack(scans[kind])
local page = redis.call(command, key, cursor, 'COUNT', wanted)
local problems = {}
local function problem(...)
  for _, word in ipairs({ ... }) do problems[#problems + 1] = word end
end
local entries = kind == 'claims' and by_job(page[2]) or page[2]
for i = 1, #entries, step do
  local id, of_id = entries[i], entries[i + 1]
  if kind == 'unique' then
    if not has_body(of_id) then problem('no_body_unique', id, of_id) end
  elseif kind == 'slots' then
    if not needs_slot(id) then problem('idle_slot', id, of) end
  elseif kind == 'flow' then
    -- A master that is done keeps its place in a flow until what follows its group takes it.
    local is_kept = redis.call('HGET', ns .. 'group:' .. id, 'sealed') == '1'
    if not has_body(id) and not is_kept then problem('no_body_flow', id, of) end
  elseif not has_body(id) then
    problem('no_body_' .. kind, id, of)
  elseif kind == 'claims' then
    local places = places_of(id)
    if #places > 0 then problem('twice', id, 'claimed and ' .. places[1]) end
  elseif kind == 'lane_jobs' then
    if not has_slot(id, of_id) and needs_slot(id) then problem('no_slot', id, of_id) end
  end
end
return { page[1], #entries / step, problems }
