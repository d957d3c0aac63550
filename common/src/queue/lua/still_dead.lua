-- Which jobs a walk over the dead may change: between its look and its change somebody may have retried one, and
-- that one may wait, run, or have died anew.

-- Whether a job is meant: any if no time is given, else one that is dead and was buried then or earlier.
local function is_meant(id, until_ms)
  if not until_ms then return true end
  local buried_ms = tonumber(redis.call('ZSCORE', dead, id))
  return buried_ms ~= nil and buried_ms <= until_ms
end
