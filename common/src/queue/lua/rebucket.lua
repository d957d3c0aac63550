-- Move bodies to their buckets that are in the one hash of before (docs/decisions/0040).
-- KEYS 1 namespace     ARGV 1 cursor, 2 how many, about
-- Returns { next cursor, how many were moved }
local before = ns .. 'jobs'
local page = redis.pcall('HSCAN', before, ARGV[1], 'COUNT', ARGV[2])
if page.err then return { '0', 0 } end -- something else that is none of ours
for i = 1, #page[2], 2 do
  local id = page[2][i]
  redis.call('HSETNX', bucket_of(id), id, page[2][i + 1])
  redis.call('HDEL', before, id)
end
return { page[1], #page[2] / 2 }
