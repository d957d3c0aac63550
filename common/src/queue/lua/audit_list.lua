-- One chunk of the walk over a queue's list, from where jobs enter it: what comes in meanwhile makes us
-- see some entries twice and none never.
-- KEYS 1 namespace     ARGV 1 queue, 2 from, 3 how many
-- Returns { entries seen or -1 (it is no list), of which wait, { texts that are no id of this queue, ... } }
local queue, from = ARGV[1], tonumber(ARGV[2])
local page = on_list('LRANGE', queue, from, from + ARGV[3] - 1)
if not page then return { -1, 0, {} } end
local waiting, strays = 0, {}
for _, id in ipairs(page) do
  if not string.match(id, '^' .. queue .. '[-+][1-9]%d*$') then
    strays[#strays + 1] = id
  elseif waits(id) and has_body(id) then
    waiting = waiting + 1
  end
end
return { #page, waiting, strays }
