-- One chunk of the walk over a queue's list, from where jobs enter it: what comes in meanwhile makes us
-- see some entries twice and none never.
-- KEYS 1 namespace     ARGV 1 queue, 2 from, 3 how many
-- Returns { entries seen, of which wait, { texts that are no id of this queue, ... } }
local queue, from = ARGV[1], tonumber(ARGV[2])
local page = redis.call('LRANGE', ns .. 'queue:' .. queue, from, from + ARGV[3] - 1)
local waiting, strays = 0, {}
for _, id in ipairs(page) do
  if not string.match(id, '^' .. queue .. '[-+][1-9]%d*$') then
    strays[#strays + 1] = id
  elseif waits(id) and has_body(id) then
    waiting = waiting + 1
  end
end
return { #page, waiting, strays }
