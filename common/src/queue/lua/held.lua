-- What a worker holds.
-- KEYS 1 namespace     ARGV 1 worker
-- Returns { id, lease, attempts and deaths so far, body or '', ... }
local held = held_by(ARGV[1])
local reply = {}
for i = 1, #held, 2 do
  local id = held[i]
  local n = #reply
  reply[n + 1], reply[n + 2] = id, held[i + 1]
  reply[n + 3] = redis.call('HGET', attempts, id) or '0 0'
  reply[n + 4] = body_of(id)
end
return reply
