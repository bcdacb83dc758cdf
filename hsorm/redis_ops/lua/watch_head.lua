-- watch, open, lease, first lease, dis, filter: find a watch and renew its lease, in milliseconds
-- (empty: as it was); where there is none and open is 1, open it, with its first lease. Returns
-- what it is, its filter and its lease.
local key = base .. 'w:' .. ARGV[1]
local now = math.floor(clock() / 1000)
local found = redis.call('HMGET', key, 'filter', 'lease', 'expires', 'closed')
local state, filter, lease = 'open', found[1], ARGV[3]
if not found[2] then
  if ARGV[2] ~= '1' then
    return {'unknown'}
  end
  state, filter, lease = 'new', ARGV[6], ARGV[4]
  redis.call('HSET', key, 'filter', filter, 'dis', ARGV[5])
else
  if found[4] then
    return {'closed'}
  elseif tonumber(found[3]) < now then
    return {'expired'}
  end
  if lease == '' then
    lease = found[2]
  end
end
local expires = text(now + tonumber(lease))
redis.call('HSET', key, 'lease', lease, 'expires', expires)
redis.call('ZADD', base .. 'wx', expires, ARGV[1])
return {state, filter, lease}
