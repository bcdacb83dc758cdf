-- channel, id, n, n times (what, values), keys of what is to be deleted: write into the history of
-- a point that is there, and note that; see history.lua.
if redis.call('EXISTS', base .. 'e:' .. ARGV[2]) == 0 then
  return {'stale', ARGV[2]}
end
local pairs_end = 3 + 2 * tonumber(ARGV[3])
write_items(ARGV[2], ARGV, 4, pairs_end, pairs_end + 1, #ARGV)
run.h({id = ARGV[2]})
finish(ARGV[1])
return {'done'}
