-- Write the sample of this minute, if there is none; or, without one, tell whether it is due.
-- KEYS 1 namespace     ARGV 1 samples to keep, 2.. the sample: names and values
-- Returns { 1 if it was due, ms until the next minute }
local samples = ns .. 'samples'
local minute = now_ms - now_ms % 60000
local next_ms = minute + 60000 - now_ms
local function last() return redis.call('XREVRANGE', samples, '+', '-', 'COUNT', 1)[1] end
local function time_of(entry) return entry and tonumber(string.match(entry[1], '^%d+')) or 0 end
local newest = last()
if time_of(newest) > minute + 120000 then
  -- The clock was ahead for a while. What was sampled then would keep the next samples out until its time comes.
  for _, entry in ipairs(redis.call('XRANGE', samples, integer(minute), '+')) do redis.call('XDEL', samples, entry[1]) end
  newest = last()
  redis.call('XSETID', samples, newest and newest[1] or integer(minute - 1) .. '-0')
end
if time_of(newest) >= minute then return { 0, next_ms } end
if #ARGV > 1 then
  redis.call('XADD', samples, 'MAXLEN', '~', ARGV[1], integer(minute) .. '-0', unpack(ARGV, 2))
end
return { 1, next_ms }
