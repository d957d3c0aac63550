-- How many bodies there are, and the totals, at one instant.
-- KEYS 1 namespace     ARGV 1 '', then as in count.lua
-- Returns { how many, { total, value, ... } }
return { count_bodies(), redis.call('HGETALL', stats) }
