-- Cancels of running jobs: `cancels:<worker>` says which of its claims a worker is to cancel, each by its
-- lease, so that no later claim of the same job is meant. Whatever ends a claim looks here.

-- Whether a claim that has just ended was to be cancelled; it is no more.
local function was_to_be_cancelled(worker, id, lease)
  local key = ns .. 'cancels:' .. worker
  if redis.call('HGET', key, id) ~= lease then return false end
  redis.call('HDEL', key, id)
  return true
end

-- The claims that a worker is to cancel: { id, lease, ... }. Of those that it no longer holds the channel
-- is told: they ended before it heard.
local function pending_cancels(worker)
  local key = ns .. 'cancels:' .. worker
  local asked, pending = redis.call('HGETALL', key), {}
  for i = 1, #asked, 2 do
    local id, lease = asked[i], asked[i + 1]
    if holds(worker, id, lease) then
      pending[#pending + 1], pending[#pending + 2] = id, lease
    else
      redis.call('HDEL', key, id)
      redis.call('PUBLISH', ns .. 'job:' .. id, '{"ended":null}')
    end
  end
  return pending
end
