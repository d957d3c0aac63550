-- The inbox: jobs that others than Rhubarb bring, with a plain LPUSH of a body. They become jobs here, in
-- one step with leaving the inbox, so none is lost or doubled. What cannot be a job becomes a dead one
-- that says why: whoever brought it is not there to hear a no.

-- What the body of an outsider may hold. The other fields tie jobs to each other, and are not for outsiders.
local ALLOWED = {
  task = function(value)
    if type(value) ~= 'string' or value == '' then return '`task` is not the name of a task' end
  end,
  args = function() end,
  max_attempts = function(value)
    if type(value) ~= 'number' or value < 1 or value > 4294967295 or value % 1 ~= 0 then
      return '`max_attempts` is not a whole number from 1 on'
    end
  end,
  v = function(value)
    if type(value) ~= 'number' or value < 1 or value > 4294967295 or value % 1 ~= 0 then
      return '`v`, the version of `args`, is not a whole number from 1 on'
    end
  end,
}

-- The text as a body, or nil and why it cannot be one. Nothing is written anew from what was read: numbers
-- and empty lists would not come out as they went in.
local function as_body(text, most)
  if #text > most then return nil, 'it has ' .. #text .. ' bytes; ' .. integer(most) .. ' is the most' end
  local open = string.match(text, '^%s*{()')
  local is_json, fields = pcall(cjson.decode, text)
  if not is_json then return nil, 'it is not JSON: ' .. string.gsub(tostring(fields), '^.-:%d+: ', '') end
  if not open then return nil, 'it is not a JSON object' end
  for name, value in pairs(fields) do
    if not ALLOWED[name] then return nil, 'the field `' .. name .. '` is not for outsiders to set' end
    local wrong = ALLOWED[name](value)
    if wrong then return nil, wrong end
  end
  if fields.task == nil then return nil, 'it names no `task`' end
  -- cjson tells null from absent.
  local args = fields.args == nil and '"args":null,' or ''
  return '{' .. args .. string.sub(text, open)
end

-- A dead job whose body cannot be read, so that no retry runs it: `show` tells the text as it came.
local function refuse(queue, text, why)
  local id = queue .. '+' .. integer(draw(queue, 'later', 1) + 1)
  set_body(id, '{"at":' .. integer(now_ms) .. '} refused: ' .. text)
  redis.call('ZADD', dead, now_ms, id)
  count('enqueued:' .. queue, 1)
  count('buried', 1)
  note(id, cjson.encode({ event = 'refused', error = 'what was in the inbox cannot be a job: ' .. why }))
end

-- Moves up to `limit` bodies, or a little more than `bytes` of them, from each inbox into its queue.
-- Returns how many were moved or refused, and whether there is more.
local function empty_inboxes(limit, bytes, most)
  local queues = { 'high', 'default', 'low' }
  local keys = {}
  for i, queue in ipairs(queues) do keys[i] = ns .. 'inbox:' .. queue end
  if redis.call('EXISTS', unpack(keys)) == 0 then return 0, false end
  local moved, more = 0, false
  for i, queue in ipairs(queues) do
    local is_draining = redis.call('HEXISTS', ns .. 'draining', queue) == 1
    local bodies, seen, size = {}, 0, 0
    while not is_draining and seen < limit and size < bytes do
      -- Something else in the list's place is left to its owner.
      local text = redis.pcall('LINDEX', keys[i], -1 - seen)
      if type(text) ~= 'string' then break end
      local body, why = as_body(text, most)
      if body then bodies[#bodies + 1] = body else refuse(queue, text, why) end
      seen, size = seen + 1, size + #text
    end
    if #bodies > 0 then push_new(queue, bodies) end
    -- Last: a step that fails before this brings a body twice rather than never.
    if seen > 0 then redis.call('LTRIM', keys[i], 0, -1 - seen) end
    moved = moved + seen
    more = more or seen > 0 and (seen == limit or size >= bytes)
  end
  return moved, more
end
