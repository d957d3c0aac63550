-- Flows: what the end of a job starts. Joined to lib.lua in every script that ends jobs (in a turn, if it needs it).
--
-- A flow is a table of steps, written once by who started it, and where each step leads is part of the
-- table: nothing is nested, and no body is ever read or written anew. A step is a job, or an `all` of
-- parts, each of which begins with a step of its own. In the hash `flow:<id>`:
--   step:<n>        JSON. `well`, `failed`: the step that its end starts. If it names none, its end is the
--                   end of part `part` of the `all` `within`; and if it is in none, of the flow.
--                   Of a job: `task`, `queue`, and `output` if a later step may want what it gives back.
--                   Of an `all`: `parts` (their first steps), and `fail` if one that failed fails it.
--   body:<n>        of a job.
-- And what has happened:
--   over:<n>        1: its end was passed on for good. What happens to it or within it later (a dead job
--                   is retried by hand) changes nothing.
--   left:<n>        of an `all`: parts that have not ended.
--   failed:<n>      of an `all`: parts that failed.
--   part:<n>:<i>    `well <step>` or `failed <step>`: how a part ended, with which step.
--   died:<n>        `<job> <reason>`
--   output:<n>      what a job gave back, JSON; missing if that was nothing (null).
-- In `flow:<id>:jobs` is every job of it that is not gone, with its step. With the last of them goes all.
--
-- Most calls end no job of a flow and need none of this, so it is made when it is first asked for.

local made_flows
function flows()
  if made_flows then return made_flows end

  local function step_of(flow, number)
    local text = redis.call('HGET', ns .. 'flow:' .. flow, 'step:' .. number)
    return text and cjson.decode(text) or nil
  end

  local pass_on
  local born -- new jobs, by queue: all that one end starts is pushed at once

  -- Starts a step; `after` is the one whose end started it, if there is one.
  local function start_step(flow, number, after)
    local step = step_of(flow, number)
    if not step then return end -- somebody deleted the record
    local key = ns .. 'flow:' .. flow
    if step.parts then
      redis.call('HSET', key, 'left:' .. number, #step.parts)
      for _, first in ipairs(step.parts) do start_step(flow, first, after) end
      if #step.parts == 0 then pass_on(flow, number, step, false) end
      return
    end
    local body = redis.call('HGET', key, 'body:' .. number)
    if not body then return end
    local to = born[step.queue]
    to.steps[#to.steps + 1] = number
    -- Only a lane stands before it: scripts look for that at the head.
    local lane, rest = string.match(body, '^{("lane":"[^"]*",)(.*)$')
    to.bodies[#to.bodies + 1] = '{' .. (lane or '') .. '"flow":{"id":"' .. flow .. '","step":' .. number ..
      (after and ',"after":' .. after or '') .. (step.output and ',"output":true' or '') .. '},' ..
      (rest or string.sub(body, 2))
  end

  -- Does what may start steps, and pushes their jobs.
  local function bear(flow, act)
    born = {}
    local order = { 'high', 'default', 'low' }
    for _, queue in ipairs(order) do born[queue] = { bodies = {}, steps = {} } end
    act()
    for _, queue in ipairs(order) do
      local them, fields = born[queue], {}
      if #them.bodies > 0 then
        for i, id in ipairs(push_new(queue, them.bodies)) do
          fields[2 * i - 1], fields[2 * i] = id, them.steps[i]
        end
        in_chunks(fields, function(...) redis.call('HSET', ns .. 'flow:' .. flow .. ':jobs', ...) end)
      end
    end
  end

  -- A part of an `all` has ended with a step. The last one ends the `all`.
  local function leave_all(flow, number, part, how)
    local key = ns .. 'flow:' .. flow
    local field = 'part:' .. number .. ':' .. part
    local before = redis.call('HGET', key, field)
    redis.call('HSET', key, field, how)
    local left = redis.call('HINCRBY', key, 'left:' .. number, before and 0 or -1)
    local is_new = not before and string.match(how, '^failed')
    local failures = redis.call('HINCRBY', key, 'failed:' .. number, is_new and 1 or 0)
    if left > 0 then return end
    local step = step_of(flow, number)
    if step then pass_on(flow, number, step, failures > 0 and step.fail) end
  end

  -- A step has ended: starts what its end starts, or ends what it is the end of.
  function pass_on(flow, number, step, has_failed)
    local next_step = step.well
    if has_failed then next_step = step.failed end
    -- A failure that nobody handles can still be mended: retry what is dead.
    if next_step or not has_failed then redis.call('HSET', ns .. 'flow:' .. flow, 'over:' .. number, 1) end
    if next_step then
      start_step(flow, next_step, number)
    elseif step.within then
      leave_all(flow, step.within, step.part, (has_failed and 'failed ' or 'well ') .. number)
    end
  end

  -- Whether the end of a step, or of what it is within, was passed on for good.
  local function is_over(flow, number, step)
    while step do
      if redis.call('HEXISTS', ns .. 'flow:' .. flow, 'over:' .. number) == 1 then return true end
      number = step.within
      step = number and step_of(flow, number)
    end
    return false
  end

  -- A dead job was retried and did its work: the parts that had failed by it go on.
  local function take_back(flow, step)
    local key = ns .. 'flow:' .. flow
    while step and step.within do
      local field = 'part:' .. step.within .. ':' .. step.part
      if not string.match(redis.call('HGET', key, field) or '', '^failed') then return end
      redis.call('HDEL', key, field)
      redis.call('HINCRBY', key, 'left:' .. step.within, 1)
      redis.call('HINCRBY', key, 'failed:' .. step.within, -1)
      step = step_of(flow, step.within)
    end
  end

  -- Whether what follows a master's group has its place in the flow, or will have it.
  local function hands_on(id) return redis.call('HGET', ns .. 'group:' .. id, 'sealed') == '1' end

  local function is_at(it, id) return redis.call('HGET', ns .. 'flow:' .. it.id .. ':jobs', id) == tostring(it.step) end

  -- A job that is a step has come to an end. `it`: the flow's `id`, the `step`.
  local function end_step(it, id, failure, output)
    if not is_at(it, id) or hands_on(id) then return end
    local flow, number, step = it.id, it.step, step_of(it.id, it.step)
    if not step or is_over(flow, number, step) then return end
    local key = ns .. 'flow:' .. flow
    if failure then
      -- Of a dead job that is discarded, the reason of its death is the one to tell.
      local is_gone = not has_body(id)
      redis.call(is_gone and 'HSETNX' or 'HSET', key, 'died:' .. number, id .. ' ' .. failure)
    else
      if redis.call('HDEL', key, 'died:' .. number) == 1 then take_back(flow, step) end
      if step.output and output and output ~= 'null' then redis.call('HSET', key, 'output:' .. number, output) end
    end
    bear(flow, function() pass_on(flow, number, step, failure and true) end)
  end

  -- What follows a master's group takes the master's place in its flow.
  local function take_place(it, master, id, failure)
    if not is_at(it, master) then return end
    redis.call('HDEL', ns .. 'flow:' .. it.id .. ':jobs', master)
    redis.call('HSET', ns .. 'flow:' .. it.id .. ':jobs', id, it.step)
    if failure then end_step(it, id, failure) end
  end

  local function forget_outputs(flow, number, step)
    local key = ns .. 'flow:' .. flow
    if not step then return end
    if not step.parts then redis.call('HDEL', key, 'output:' .. number) return end
    for part = 1, #step.parts do
      local how = redis.call('HGET', key, 'part:' .. number .. ':' .. part)
      local last = how and tonumber(string.match(how, '%d+$'))
      if last then forget_outputs(flow, last, step_of(flow, last)) end
    end
  end

  -- A job that is a step is gone. What was kept for it alone goes, and after the last one everything.
  local function leave_flow(it, id)
    if not is_at(it, id) or hands_on(id) then return end
    local key = ns .. 'flow:' .. it.id
    redis.call('HDEL', key .. ':jobs', id)
    if redis.call('EXISTS', key .. ':jobs') == 0 then redis.call('DEL', key) return end
    local before = it.after and step_of(it.id, it.after)
    if before and (before.well == it.step or before.failed == it.step) then
      forget_outputs(it.id, it.after, before)
    end
  end

  made_flows = {
    step_of = step_of, start_step = start_step, bear = bear, hands_on = hands_on,
    end_step = end_step, leave = leave_flow, take_place = take_place,
  }
  return made_flows
end
