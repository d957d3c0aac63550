-- Make jobs of rows of the outbox, each once: a row that has a mark was made a job before.
-- KEYS 1 namespace     ARGV 1 ms (by Redis's clock) before the rows were read, 2 how many ms they may be old,
--                      then for each row: mark, queue, due (ms since 1970, or ''), body
-- Returns how many jobs were made; -1 if the rows were read too long ago. Another relay may have handed
-- such a row over and deleted it since, and its mark may be forgotten: then nothing is made.
if now_ms - tonumber(ARGV[1]) > tonumber(ARGV[2]) then return -1 end
local relayed = ns .. 'relayed'
local marks, made, at_once = {}, 0, {}

for arg = 3, #ARGV, 4 do
  local mark, queue, due, body = ARGV[arg], ARGV[arg + 1], tonumber(ARGV[arg + 2]), ARGV[arg + 3]
  if not redis.call('ZSCORE', relayed, mark) then
    made = made + 1
    if due and due > now_ms then
      schedule(make_unlisted(queue, body, due), due)
    else
      at_once[queue] = at_once[queue] or {}
      table.insert(at_once[queue], body)
    end
  end
  marks[#marks + 1], marks[#marks + 2] = now_ms, mark
end
for _, queue in ipairs({ 'high', 'default', 'low' }) do
  if at_once[queue] then push_new(queue, at_once[queue]) end
end
-- Old marks are made young again: see `forget` in the relay.
in_chunks(marks, function(...) redis.call('ZADD', relayed, ...) end)
return made
