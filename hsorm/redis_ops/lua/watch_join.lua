-- watch, ids…: put ids into a watch; their changes count from now on. Returns tags and live tags
-- of each id, as it is now.
local part, members = base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1]
local now = text(sequence())
redis.call('HSETNX', part, 'c', now)
local rows = {}
for i = 2, #ARGV do
  local doc = redis.call('HMGET', base .. 'e:' .. ARGV[i], 'tags', 'live', 'z')
  local there = doc[1] and doc[3] ~= '1'
  local told = redis.call('HGET', members, ARGV[i])
  if not told then
    redis.call('HSET', members, ARGV[i], (there and '+' or '-') .. now)
  elseif there then  -- shown now, so that its removal is news; changes count as before
    redis.call('HSET', members, ARGV[i], '+' .. string.sub(told, 2))
  end
  rows[#rows + 1] = there and {doc[1], doc[2]} or {}
end
redis.call('HINCRBY', part, 'n', 1)  -- who has looked at the watch looks once more
return {'done', rows}
