-- watch, ids…: take ids out of a watch; without any, all.
local part, members = base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1]
if #ARGV == 1 then
  redis.call('UNLINK', part, members)
end
for i = 2, #ARGV do
  redis.call('HDEL', members, ARGV[i])
end
if redis.call('EXISTS', part) == 1 then
  redis.call('HINCRBY', part, 'n', 1)  -- who has looked at the watch looks once more
end
return {'done'}
