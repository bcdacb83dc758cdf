-- fields, tx, seconds, and for each entity that the transaction is based on: id, v, array.
-- Take the bucket, if all of them are as they should be (see ops.lua, and apply.lua for fields).
-- The lock says who has it, and until when, in microseconds, nobody else may give it up.
local holder = redis.call('GET', base .. 'lock')
if holder then
  return {'locked', holder}
end
if (redis.call('GET', base .. 'fields') or '') ~= ARGV[1] then
  return {'fields'}
end
for i = 4, #ARGV, 3 do
  if not is_current({id = ARGV[i], v = ARGV[i + 1], array = ARGV[i + 2]}) then
    return {'stale', ARGV[i]}
  end
end
redis.call('PERSIST', base .. 'tx:' .. ARGV[2])
redis.call('SET', base .. 'lock', ARGV[2] .. ' ' .. text(clock() + ARGV[3] * 1000000))
return {'done'}
