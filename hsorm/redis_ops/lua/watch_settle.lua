-- watch, n, stamp, told, told times (id, what to note), ids to forget…: note what a watch has told,
-- unless it was told something since `n` was read.
local part, members = base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1]
if (redis.call('HGET', part, 'n') or '0') ~= ARGV[2] then
  return {'stale'}
end
local count = tonumber(ARGV[4])
for i = 5, 3 + 2 * count, 2 do
  redis.call('HSET', members, ARGV[i], ARGV[i + 1])
end
for i = 5 + 2 * count, #ARGV do
  redis.call('HDEL', members, ARGV[i])
end
redis.call('HSET', part, 'c', ARGV[3])
redis.call('HINCRBY', part, 'n', 1)
return {'done'}
