-- before, history_before: forget the removals and the watches that ended up to a time in
-- milliseconds, and the history writes up to a stamp. Cursors from before have expired.
local removed = redis.call('ZRANGEBYSCORE', base .. 'gone', '-inf', ARGV[1])
local forgotten = tonumber(redis.call('GET', base .. 'forgotten') or '0')
for _, id in ipairs(removed) do
  forgotten = math.max(forgotten, tonumber(redis.call('ZSCORE', base .. 'log', id) or '0'))
  redis.call('ZREM', base .. 'log', id)
  redis.call('ZREM', base .. 'gone', id)
end
if #removed > 0 then
  redis.call('SET', base .. 'forgotten', text(forgotten))
end
local ended = redis.call('ZRANGEBYSCORE', base .. 'wx', '-inf', ARGV[1])
for _, watch in ipairs(ended) do
  redis.call('ZREM', base .. 'wx', watch)
  redis.call('UNLINK', base .. 'w:' .. watch)
end
return {'done', #removed, ended}
