-- watch, ids…: take ids out of a watch; without any, all.
if #ARGV == 1 then
  redis.call('UNLINK', base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1])
end
for i = 2, #ARGV do
  redis.call('HDEL', base .. 'wm:' .. ARGV[1], ARGV[i])
end
return {'done'}
