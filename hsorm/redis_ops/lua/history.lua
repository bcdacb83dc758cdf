-- The history of a point. A stamp is a text of digits, microseconds since 1970: Lua's numbers would
-- lose the last of them in the year 2255. Keys of the others have 18 digits, so that they sort.

local function names(id)
  return base .. 'h:' .. id, base .. 'b:' .. id, base .. 'o:' .. id
end

local function exists(key)
  return redis.call('EXISTS', key) == 1
end

local function split(list)
  local parts = {}
  for part in string.gmatch(list, '[^,]+') do
    parts[#parts + 1] = part
  end
  return parts
end

local function key_of(stamp)
  return string.rep('0', 18 - #stamp) .. stamp
end

-- The stamp of a key; nothing before 1970, which no series can hold.
local function stamp_of(key)
  return string.match(key, '^0*(%d+)$')
end

-- Delete what a series has at ascending stamps.
local function drop_samples(series, stamps)
  if not exists(series) then return end
  local last = stamps[#stamps]
  if #redis.call('TS.RANGE', series, stamps[1], last, 'COUNT', '1') == 0 then return end
  for _, stamp in ipairs(stamps) do
    redis.call('TS.DEL', series, stamp, stamp)
  end
end

-- Delete what the others have at ascending keys.
local function drop_others(others, keys)
  if not exists(others) then return end
  local last = '[' .. keys[#keys] .. '\255'
  if redis.call('ZLEXCOUNT', others, '[' .. keys[1], last) == 0 then return end
  for _, key in ipairs(keys) do
    redis.call('ZREMRANGEBYLEX', others, '[' .. key, '[' .. key .. '\255')
  end
end

-- Put samples into a series; what another one or the others have at these stamps goes.
local function put_samples(series, another, others, stamps, values)
  stamps = split(stamps)
  if exists(another) then
    drop_samples(another, stamps)
  end
  if exists(others) then
    local keys = {}
    for i, stamp in ipairs(stamps) do
      keys[i] = key_of(stamp)
    end
    drop_others(others, keys)
  end
  if not exists(series) then
    redis.call('TS.CREATE', series, 'DUPLICATE_POLICY', 'LAST')
  end
  local command, i = {'TS.MADD'}, 0
  for value in string.gmatch(values, '[^,]+') do
    i = i + 1
    command[3 * i - 1] = series
    command[3 * i] = stamps[i]
    command[3 * i + 1] = value
  end
  for _, answer in ipairs(redis.call(unpack(command))) do
    if type(answer) == 'table' then
      error(series .. ': ' .. tostring(answer.err))
    end
  end
end

local function put_other(numbers, bools, others, key, text)
  local stamp = stamp_of(key)
  if stamp then
    drop_samples(numbers, {stamp})
    drop_samples(bools, {stamp})
  end
  drop_others(others, {key})
  redis.call('ZADD', others, '0', key .. text)
end

-- Free a series that has become empty.
local function tidy(series)
  if exists(series) and #redis.call('TS.GET', series) == 0 then
    redis.call('UNLINK', series)
  end
end

-- Delete the items from one key on and up to another, this one included; return how many.
local function clear_items(id, first, last)
  local numbers, bools, others = names(id)
  local count = redis.call('ZREMRANGEBYLEX', others, '[' .. first, '[' .. last .. '\255')
  last = stamp_of(last)
  for _, series in ipairs({numbers, bools}) do
    if last and exists(series) then
      count = count + redis.call('TS.DEL', series, stamp_of(first) or '0', last)
      tidy(series)
    end
  end
  return count
end

-- Write into the history of a point: pairs of arguments, then the keys of what is to be deleted.
--   n<stamps>, <numbers>; b<stamps>, <bools>; o<key>, <Hayson>; c<first key>, <last key> to clear
local function write_items(id, args, first, last, first_gone, last_gone)
  local numbers, bools, others = names(id)
  for i = first, last, 2 do
    local how, what = string.sub(args[i], 1, 1), string.sub(args[i], 2)
    if how == 'n' then
      put_samples(numbers, bools, others, what, args[i + 1])
    elseif how == 'b' then
      put_samples(bools, numbers, others, what, args[i + 1])
    elseif how == 'o' then
      put_other(numbers, bools, others, what, args[i + 1])
    else
      clear_items(id, what, args[i + 1])
    end
  end
  for i = first_gone, last_gone do
    local key = args[i]
    local stamp = stamp_of(key)
    if stamp then
      drop_samples(numbers, {stamp})
      drop_samples(bools, {stamp})
    end
    drop_others(others, {key})
  end
  if last_gone >= first_gone then
    tidy(numbers)
    tidy(bools)
  end
end

-- Note for watches that the history of a point has changed.
local function note_history(id)
  local now = stamp()
  redis.call('ZADD', base .. 'log', now, id)
  redis.call('ZADD', base .. 'his', now, id)
end
