-- watch, channel: note that a watch is closed, which ends its streams.
local key = base .. 'w:' .. ARGV[1]
local now = text(math.floor(clock() / 1000))
redis.call('HSET', key, 'closed', '1', 'expires', now)
redis.call('ZADD', base .. 'wx', now, ARGV[1])
redis.call('PUBLISH', ARGV[2], '')
return {'done'}
