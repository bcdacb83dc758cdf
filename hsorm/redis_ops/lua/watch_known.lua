-- watch, all: how far a watch on a filter has followed this bucket: the bucket's last stamp, the
-- stamp up to which it was told, and how often. With all 1 also ids and stamps of what was told,
-- and the ids whose history was written since.
local part = base .. 'wp:' .. ARGV[1]
local found = redis.call('HMGET', part, 'c', 'n')
local cursor = found[1] or '0'
local answer = {'done', text(sequence()), cursor, found[2] or '0'}
if ARGV[2] == '1' then
  answer[5] = redis.call('HGETALL', base .. 'wm:' .. ARGV[1])
  answer[6] = redis.call('ZRANGEBYSCORE', base .. 'his', '(' .. cursor, '+inf')
end
return answer
