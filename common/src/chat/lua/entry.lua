-- How an entry comes into a room's log, and what a change makes of one. An entry is `<id> <prev> <JSON>`.
-- The JSON is as servers write it: `{"userId":…,"username":…,"clientId":…,"message":"…"`, then what it has
-- to do with changes. No text can hold what is looked for: its quotation marks are escaped.

-- The id of what the same sender sent lately with the same own id; false if there is none.
local function sent_before(room, own_id) return redis.call('ZSCORE', room_key(room, 'sent'), own_id) end

-- Gives an entry its id, above `floor`, keeps it and publishes it.
-- Returns its id, and how many entries came since the last flush was asked for.
local function add(room, own_id, content, window, floor)
  local meta, log, sent = room_key(room, 'meta'), room_key(room, 'log'), room_key(room, 'sent')
  local m = redis.call('HMGET', meta, 'top', 'resting', 'born', 'hydrated_from')
  local top = tonumber(m[1] or 0)
  -- A warm log that was deleted by hand would end with the newest message again, and look complete.
  local is_gone = m[4] and top > 0 and redis.call('EXISTS', log) == 0
  local id = math.max(now_us, top + 1, floor + 1)
  local entry = integer(id) .. ' ' .. integer(top) .. ' ' .. content
  -- First what needs memory: Redis refuses a script for want of it only before its first write.
  redis.call('ZADD', log, integer(id), entry)
  if not m[1] or m[2] then wake(room) end
  redis.call('HSET', meta, 'top', integer(id))
  if is_gone then redis.call('HDEL', meta, 'hydrated_from') end
  if is_gone or not (m[1] and m[3]) then redis.call('HSET', meta, 'born', integer(id)) end
  redis.call('ZADD', dirty, 'NX', integer(now_ms), room)
  redis.call('ZADD', sent, integer(id), own_id)
  local fresh = redis.call('HINCRBY', meta, 'fresh', 1)
  if fresh % 64 == 1 then redis.call('ZREMRANGEBYSCORE', sent, '-inf', integer(now_us - window * 1000)) end
  redis.call('PEXPIRE', sent, window)
  tell(room, 'm ' .. entry)
  return id, fresh
end

local function entry_at(log, id) return redis.call('ZRANGEBYSCORE', log, id, id)[1] end
local function id_of(entry) return string.match(entry, '^%d+') end

-- The message that an entry edits or deletes, as text; nil if it is a message itself.
local function edits(entry) return string.match(entry, ',"edits":(%d+)') end
local function deletes(entry) return string.match(entry, ',"deletes":(%d+)') end

-- The change that an entry shows; 0 if it was not changed.
local function edited_at(entry) return tonumber(string.match(entry, ',"editedAt":(%d+)') or 0) end
local function is_deleted(entry) return string.sub(entry, -16) == ',"deleted":true}' end

-- Which of two copies counts: what is deleted stays deleted, else the later change.
local function is_newer(one, other)
  if is_deleted(one) ~= is_deleted(other) then return is_deleted(one) end
  return edited_at(one) > edited_at(other)
end

-- What the change `id` makes of an entry: a message shows its text (JSON) or is deleted, an earlier change loses its own.
local function amended(entry, id, text, deleted)
  local at = string.find(entry, ',"message":', 1, true)
  if not at then return entry end
  local change = edits(entry)
  if change then text, deleted = '""', false end
  return string.sub(entry, 1, at) .. '"message":' .. text .. (change and ',"edits":' .. change or '')
    .. ',"editedAt":' .. integer(id) .. (deleted and ',"deleted":true}' or '}')
end

local function replace(log, old, new)
  redis.call('ZADD', log, id_of(old), new)
  if new ~= old then redis.call('ZREM', log, old) end
end
