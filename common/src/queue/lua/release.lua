-- A unique job starts: from now on another one with its key may be made.
-- KEYS 1 namespace     ARGV 1 worker, 2 id, 3 its lease, 4 key
-- Returns 1, or -1 if the claim is no longer this worker's.
if not holds(ARGV[1], ARGV[2], ARGV[3]) then return -1 end
release(ARGV[2], ARGV[4])
return 1
