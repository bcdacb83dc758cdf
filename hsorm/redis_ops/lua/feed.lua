-- after, limit: what has changed after a stamp, oldest first, with the entities as they are.
local rows = {}
local found = redis.call('ZRANGEBYSCORE', base .. 'log', '(' .. ARGV[1], '+inf', 'WITHSCORES',
  'LIMIT', '0', ARGV[2])
for i = 1, #found, 2 do
  local id = found[i]
  local doc = redis.call('HMGET', base .. 'e:' .. id, 'tags', 'live', 'z')
  local his = tonumber(redis.call('ZSCORE', base .. 'his', id) or '0')
  rows[#rows + 1] = {id, text(tonumber(found[i + 1])), doc[1], doc[2], doc[3],
    his > tonumber(ARGV[1]) and 1 or 0}
end
return {'done', text(sequence()), redis.call('GET', base .. 'forgotten') or '0', rows}
