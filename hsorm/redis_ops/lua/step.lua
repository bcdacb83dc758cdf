-- tx, channel: do the next part of what a committed transaction has staged here; the last one also
-- gives the bucket back. Whoever finds the transaction may do so, several at a time as well.
local holder = redis.call('GET', base .. 'lock')
if not holder or string.sub(holder, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
  return {'done'}
end
local staged = base .. 'tx:' .. ARGV[1]
local part = redis.call('LPOP', staged)
if part then
  run_all(cmsgpack.unpack(part), 1)
end
if redis.call('EXISTS', staged) == 0 then
  redis.call('DEL', base .. 'lock')
  finish(ARGV[2])
  return {'done'}
end
finish(ARGV[2])
return {'more'}
