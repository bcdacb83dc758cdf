-- watch, refresh: what has changed among the ids of a watch since it was told, all with refresh 1;
-- and note that it was told now. Returns rows of id, tags and live tags, and the ids that are gone.
local part, members = base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1]
local cursor = redis.call('HGET', part, 'c')
local now = sequence()
if not cursor or (tonumber(cursor) == now and ARGV[2] ~= '1') then
  return {'done', {}, {}}
end
cursor = tonumber(cursor)

-- The ids to look at: what has changed in the bucket, or what is in the watch, if that is less.
local ids = {}
local changed = redis.call('ZCOUNT', base .. 'log', '(' .. text(cursor), '+inf')
if ARGV[2] == '1' or changed > redis.call('HLEN', members) then
  ids = redis.call('HKEYS', members)
else
  ids = redis.call('ZRANGEBYSCORE', base .. 'log', '(' .. text(cursor), '+inf')
  -- What was forgotten meanwhile stands in no log: who was there may be gone.
  if tonumber(redis.call('GET', base .. 'forgotten') or '0') > cursor then
    ids = redis.call('HKEYS', members)
  end
end

local rows, gone = {}, {}
for _, id in ipairs(ids) do
  local told = redis.call('HGET', members, id)
  if told then
    local known, since = string.sub(told, 1, 1) == '+', tonumber(string.sub(told, 2))
    local doc = redis.call('HMGET', base .. 'e:' .. id, 'tags', 'live', 'z')
    local there = doc[1] and doc[3] ~= '1'
    local at = tonumber(redis.call('ZSCORE', base .. 'log', id) or '0')
    if there and (at > since or ARGV[2] == '1') then
      rows[#rows + 1] = {id, doc[1], doc[2]}
      redis.call('HSET', members, id, '+' .. text(math.max(at, since)))
    elseif known and not there then
      gone[#gone + 1] = id
      redis.call('HSET', members, id, '-' .. text(math.max(at, since)))
    end
  end
end
redis.call('HSET', part, 'c', text(now))
return {'done', rows, gone}
