-- tx: forget what a transaction has staged here, and give the bucket back where it has it.
redis.call('DEL', base .. 'tx:' .. ARGV[1])
local holder = redis.call('GET', base .. 'lock')
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  redis.call('DEL', base .. 'lock')
end
return {'done'}
