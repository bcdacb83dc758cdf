-- fields, tx, seconds, parts, and for each entity that the transaction is based on: id, v, array.
-- Take the bucket, if all of them are as they should be (see ops.lua, and apply.lua for fields; *
-- for any); who has it already keeps it for longer. The lock says who has it, and until when, in
-- microseconds, nobody else may give it up.
-- parts: how many are staged here; returns {'lost'} where they are not
local holder = redis.call('GET', base .. 'lock')
if holder and string.sub(holder, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then
  return {'locked', holder}
end
if ARGV[1] ~= '*' and (redis.call('GET', base .. 'fields') or '') ~= ARGV[1] then
  return {'fields'}
end
local staged = base .. 'tx:' .. ARGV[2]
if redis.call('LLEN', staged) ~= tonumber(ARGV[4]) then
  return {'lost'}
end
for i = 5, #ARGV, 3 do
  if not is_current({id = ARGV[i], v = ARGV[i + 1], array = ARGV[i + 2]}) then
    return {'stale', ARGV[i]}
  end
end
redis.call('PERSIST', staged)
redis.call('SET', base .. 'lock', ARGV[2] .. ' ' .. text(clock() + ARGV[3] * 1000000))
return {'done'}
