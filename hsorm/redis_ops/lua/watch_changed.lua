-- watch, refresh, looks: what has changed among the ids of a watch since it was told, all with
-- refresh 1; and note that it was told now, unless looks is 1: then watch_settle is to do that.
-- Returns rows of id, tags and live tags, the ids that are gone, and for watch_settle how often
-- something was told, the stamp to note, and ids with what to note of each.
local part, members = base .. 'wp:' .. ARGV[1], base .. 'wm:' .. ARGV[1]
local found = redis.call('HMGET', part, 'c', 'n')
local cursor, count = found[1], found[2] or '0'
local now = sequence()
if not cursor or (tonumber(cursor) == now and ARGV[2] ~= '1') then
  return {'done', {}, {}, count, text(now), {}}
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

local rows, gone, notes = {}, {}, {}
for _, id in ipairs(ids) do
  local told = redis.call('HGET', members, id)
  if told then
    local known, since = string.sub(told, 1, 1) == '+', tonumber(string.sub(told, 2))
    local doc = redis.call('HMGET', base .. 'e:' .. id, 'tags', 'live', 'z')
    local there = doc[1] and doc[3] ~= '1'
    local at = tonumber(redis.call('ZSCORE', base .. 'log', id) or '0')
    local sign
    if there and (at > since or ARGV[2] == '1') then
      rows[#rows + 1] = {id, doc[1], doc[2]}
      sign = '+'
    elseif known and not there then
      gone[#gone + 1] = id
      sign = '-'
    end
    if sign then
      notes[#notes + 1] = id
      notes[#notes + 1] = sign .. text(math.max(at, since))
    end
  end
end
if #notes == 0 then
  redis.call('HSET', part, 'c', text(now))
elseif ARGV[3] ~= '1' then
  for i = 1, #notes, 2 do
    redis.call('HSET', members, notes[i], notes[i + 1])
  end
  redis.call('HSET', part, 'c', text(now))
  redis.call('HINCRBY', part, 'n', 1)
end
return {'done', rows, gone, count, text(now), ARGV[3] == '1' and notes or {}}
