-- How an entry comes into a room's log, and what a change makes of one. An entry is `<id> <prev> <JSON>`.
-- The JSON is as servers write it: `{"userId":…,"username":…,"clientId":…,"message":"…"`, then what it has
-- to do with changes. No text can hold what is looked for: its quotation marks are escaped.

-- The id of what the same sender sent lately with the same own id; false if there is none.
local function sent_before(room, own_id) return redis.call('ZSCORE', room_key(room, 'sent'), own_id) end

-- Gives entries of a room their ids, one after another and above `floor`, keeps them and publishes them together.
-- `news` has for each `<sender> <client id>`, content. Returns the first one's id, and how many entries had come before
-- them since the last flush was asked for.
local function add(room, news, window, floor)
  local meta, log, sent = room_key(room, 'meta'), room_key(room, 'log'), room_key(room, 'sent')
  local m = redis.call('HMGET', meta, 'top', 'fresh', 'watermark', 'sent_until', 'born', 'resting', 'hydrated_from')
  local top, fresh, watermark = tonumber(m[1] or 0), tonumber(m[2] or 0), tonumber(m[3] or 0)
  -- A warm log that was deleted by hand would end with the newest message again, and look complete. To count from the
  -- newest id on is to ask for the newest entry, without its text.
  local is_gone = m[7] and top > 0 and redis.call('ZCOUNT', log, m[1], '+inf') ~= 1
  -- Above the watermark too, which is ahead of a clock that was set back: what is below it counts as archived.
  local first = math.max(now_us, top + 1, floor + 1, watermark + 1)
  local last, count, entries, to_log, to_sent = integer(top), #news / 2, {}, {}, {}
  for i = 1, count do
    local id, k = integer(first + i - 1), 2 * i
    local entry = id .. ' ' .. last .. ' ' .. news[k]
    entries[i] = entry
    to_log[k - 1], to_log[k] = id, entry
    to_sent[k - 1], to_sent[k] = id, news[k - 1]
    last = id
  end
  -- First what needs memory: Redis refuses a script for want of it only before its first write.
  redis.call('ZADD', log, unpack(to_log))
  redis.call('ZADD', sent, unpack(to_sent))
  if not m[1] or m[6] then wake(room) end
  redis.call('HSET', meta, 'top', last, 'fresh', integer(fresh + count))
  if is_gone then redis.call('HDEL', meta, 'hydrated_from') end
  if is_gone or not (m[1] and m[5]) then redis.call('HSET', meta, 'born', integer(first)) end
  -- What need not be done for each entry is done for the first after a flush and now and then: so what was
  -- deleted by hand is mended.
  local tidy = math.floor((fresh + count - 1) / 64) > math.floor((fresh - 1) / 64)
  if tidy or top <= watermark then redis.call('ZADD', dirty, 'NX', integer(now_ms), room) end
  if tidy or now_ms + window > tonumber(m[4] or 0) then
    redis.call('ZREMRANGEBYSCORE', sent, '-inf', integer(now_us - window * 1000))
    local sent_until = integer(now_ms + window * 1.25)
    redis.call('PEXPIREAT', sent, sent_until)
    redis.call('HSET', meta, 'sent_until', sent_until)
  end
  -- By another letter if they are several: a release that reads only one must not take them for one.
  tell(room, (count > 1 and 'n ' or 'm ') .. table.concat(entries, '\n'))
  return first, fresh
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

-- What the change `id` (as text) makes of an entry: a message shows its text (JSON) or is deleted, an earlier change loses its own.
local function amended(entry, id, text, deleted)
  local at = string.find(entry, ',"message":', 1, true)
  if not at then return entry end
  local change = edits(entry)
  if change then text, deleted = '""', false end
  return string.sub(entry, 1, at) .. '"message":' .. text .. (change and ',"edits":' .. change or '')
    .. ',"editedAt":' .. id .. (deleted and ',"deleted":true}' or '}')
end

local function replace(log, old, new)
  redis.call('ZADD', log, id_of(old), new)
  if new ~= old then redis.call('ZREM', log, old) end
end
