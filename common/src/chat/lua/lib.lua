-- What every script of the chat shares: names and the life of a room's keys.
-- KEYS 1 is always the namespace, e.g. `{rhubarb}:`. The list of all keys is in `kv/keys.rs`.
local ns = KEYS[1]
local dirty, servers = ns .. 'dirty', ns .. 'servers'

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function integer(n) return string.format('%d', n) end
local function room_key(room, part) return ns .. 'room:' .. room .. ':' .. part end
local function tell(room, text) redis.call('PUBLISH', room_key(room, 'live'), text) end

-- Whether a room has unflushed messages. Its meta tells it, too, if its mark in `dirty` was deleted by hand.
local function is_dirty(room)
  if redis.call('ZSCORE', dirty, room) then return true end
  local m = redis.call('HMGET', room_key(room, 'meta'), 'top', 'watermark')
  return tonumber(m[1] or 0) > tonumber(m[2] or 0)
end

-- Only a room without unflushed messages may leave Redis. `resting` in its meta says that its keys expire.
local function rest(room, ttl)
  if is_dirty(room) then return end
  local meta, deadline = room_key(room, 'meta'), integer(now_ms + ttl)
  if redis.call('EXISTS', meta) == 1 then
    redis.call('HSET', meta, 'resting', 1)
    redis.call('PEXPIREAT', meta, deadline)
  end
  redis.call('PEXPIREAT', room_key(room, 'log'), deadline)
  redis.call('PEXPIREAT', room_key(room, 'changed'), deadline)
end

local function wake(room)
  redis.call('PERSIST', room_key(room, 'meta'))
  redis.call('PERSIST', room_key(room, 'log'))
  redis.call('PERSIST', room_key(room, 'changed'))
  redis.call('HDEL', room_key(room, 'meta'), 'resting')
end

-- Where a room's jobs go: before all others' while somebody premium was in it lately.
local function queue_of(room)
  local premium_until = tonumber(redis.call('ZSCORE', ns .. 'premium', room) or 0)
  return premium_until > now_ms and 'high' or 'default'
end

-- The newest id in a log; 0 if it is empty.
local function newest_of(log)
  local newest = redis.call('ZRANGE', log, -1, -1, 'WITHSCORES')
  return tonumber(newest[2] or 0)
end

-- Members of a room on all servers whose lease runs.
local function members_of(room)
  local by_server = redis.call('HGETALL', room_key(room, 'members'))
  local total = 0
  for i = 1, #by_server, 2 do
    local lease = redis.call('ZSCORE', servers, by_server[i])
    if lease and tonumber(lease) > now_ms then total = total + tonumber(by_server[i + 1]) end
  end
  return total
end
