-- What every script of the queue begins with: names and numbers. All functions that stand before a script are made
-- anew by each of its calls, so the script that makes one job has nothing but this before it.
-- KEYS 1 is always the namespace, e.g. `{rhubarb}:`; every other key is built from it and so lives
-- in the same Redis Cluster slot. The list of all keys is in `kv/keys.rs`.
--
-- An id reads `<queue>-<n>` (pushed when it was made) or `<queue>+<n>` (scheduled or put into a lane then).
-- The n of pushed ids has no gaps, and a list is first in, first out. So one number per queue, the
-- *cursor*, tells what waits: an id above it is still in the list; of the ids at or below it only
-- those in the *loose* set still wait. Score of a loose id = its place in line (see `tail_of`);
-- the place of the others is their number.
local ns = KEYS[1]
local stats = ns .. 'stats'

-- Bodies are in hashes of a thousand numbers each, the *buckets*: that of `default-12345` is `jobs:default-12`. In one
-- hash of all, each step cost more the more jobs there were (docs/decisions/0040). `kind`: `<queue>-` or `<queue>+`;
-- `digits`: the number as text, for whoever has it so: to write a number takes Redis long.
local BUCKET = 1000
local function bucket_at(kind, digits) return ns .. 'jobs:' .. kind .. (#digits > 3 and string.sub(digits, 1, -4) or '0') end

-- Gives out the next `n` numbers of a queue's pushed (`last`) or unlisted (`later`) ids; returns the one
-- before them. If somebody has deleted the mark, it goes on after as many as were ever enqueued, which
-- no id exceeds: an old body must not be overwritten. The cursor jumps along, so that nothing takes the
-- jump for lost pops; the old ids that waited are in no place then, until an audit puts them back.
local function draw(queue, counter, n)
  local mark = ns .. 'mark:' .. queue
  local number = redis.call('HINCRBY', mark, counter, n)
  if number == n and redis.call('HLEN', mark) == 1 then
    local used = tonumber(redis.call('HGET', stats, 'enqueued:' .. queue) or 0)
    if used > 0 then
      redis.call('HSET', mark, 'last', used, 'cursor', used, 'later', used)
      number = redis.call('HINCRBY', mark, counter, n)
    end
  end
  return number - n
end

-- What a queue that is to run empty tells who brings a new job.
local function refuse_draining(queue)
  return redis.error_reply('DRAINING queue ' .. queue .. ' takes no new jobs')
end
