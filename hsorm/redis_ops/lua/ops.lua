-- A change is a row of arguments:
--   kind, id, v, array, expires, n, n times (field, value), m, m times (field to delete)
-- kind     p: put an entity; s: put without telling anybody; d: delete; h: write history, whose
--          fields and what is to be deleted are those of write_items
-- v        the stamp that the entity must have; - none: there must be no entity; + any; * or none
-- array    the priority array that it must have, empty for none; * any
-- expires  when level 8 expires; - never; empty: as it was
local function next_op(args, i)
  local op = {
    kind = args[i], id = args[i + 1], v = args[i + 2], array = args[i + 3], expires = args[i + 4],
  }
  local count = 2 * tonumber(args[i + 5])
  op.args, op.set, op.set_end = args, i + 6, i + 5 + count
  i = i + 6 + count
  op.del, op.del_end = i + 1, i + tonumber(args[i])
  return op, op.del_end + 1
end

-- Whether a change is based on what is there.
local function is_current(op)
  local key = base .. 'e:' .. op.id
  if op.v ~= '*' then
    local found = redis.call('HGET', key, 'v')
    if op.v == '+' then
      if not found then return false end
    elseif (found or '-') ~= op.v then
      return false
    end
  end
  return op.array == '*' or (redis.call('HGET', key, 'a') or '') == op.array
end

-- The last field that is set is 'v', whose value is left to `put` to fill in; 'a' is the first.
local function set_fields(op)
  local key, args = base .. 'e:' .. op.id, op.args
  if op.del_end >= op.del then
    redis.call('HDEL', key, unpack(args, op.del, op.del_end))
  end
  redis.call('HSET', key, unpack(args, op.set, op.set_end))
  if args[op.set] == 'a' then
    redis.call(args[op.set + 1] == '' and 'SREM' or 'SADD', base .. 'arrays', op.id)
  end
  if op.expires == '-' then
    redis.call('ZREM', base .. 'x', op.id)
  elseif op.expires ~= '' then
    redis.call('ZADD', base .. 'x', op.expires, op.id)
  end
end

local run = {}

-- What was put by this script: stamps and ids for the log, and the ids.
local logged, put = {}, {}

local function note_put(id, now)
  logged[#logged + 1] = now
  logged[#logged + 1] = id
  put[#put + 1] = id
end

function run.p(op)
  local now = stamp()
  op.args[op.set_end] = now
  set_fields(op)
  note_put(op.id, now)
end

-- Put many that are alike, whatever is there:
--   l, n, k, k names of fields (the first is 'id'), m, m fields to delete, n times k values
local function put_alike(args, i)
  local count, width = tonumber(args[i + 1]), tonumber(args[i + 2])
  local words = {[2 * width + 1] = 'v'}
  for j = 1, width do
    words[2 * j - 1] = args[i + 2 + j]
  end
  local del = i + width + 4
  local del_end = del + tonumber(args[del - 1]) - 1
  i = del_end + 1
  for _ = 1, count do
    local id, now = args[i], stamp()
    local key = base .. 'e:' .. id
    for j = 1, width do
      words[2 * j] = args[i + j - 1]
    end
    words[2 * width + 2] = now
    local added = redis.call('HSET', key, unpack(words, 1, 2 * width + 2))
    if added <= width and del_end >= del then  -- it was there
      redis.call('HDEL', key, unpack(args, del, del_end))
    end
    note_put(id, now)
    i = i + width
  end
  return i
end

-- Note what was put, all at once: that takes half of the time.
local function note_puts()
  if #put > 0 then
    redis.call('ZADD', base .. 'log', unpack(logged))
    if redis.call('EXISTS', base .. 'gone') == 1 then
      redis.call('ZREM', base .. 'gone', unpack(put))
    end
    logged, put = {}, {}
  end
end

function run.s(op)
  set_fields(op)
end

function run.d(op)
  redis.call('DEL', base .. 'e:' .. op.id)
  redis.call('UNLINK', base .. 'h:' .. op.id, base .. 'b:' .. op.id, base .. 'o:' .. op.id)
  redis.call('ZREM', base .. 'x', op.id)
  redis.call('SREM', base .. 'arrays', op.id)
  redis.call('ZREM', base .. 'his', op.id)
  redis.call('ZADD', base .. 'log', stamp(), op.id)
  redis.call('ZADD', base .. 'gone', text(math.floor(clock() / 1000)), op.id)
end

function run.h(op)
  write_items(op.id, op.args, op.set, op.set_end, op.del, op.del_end)
  note_history(op.id)
end

local function first_stale(args, i)
  local op
  while i <= #args do
    op, i = next_op(args, i)
    if not is_current(op) then
      return op.id
    end
  end
end

local function run_all(args, i)
  local op
  while i <= #args do
    if args[i] == 'l' then
      i = put_alike(args, i)
    else
      op, i = next_op(args, i)
      run[op.kind](op)
    end
  end
  note_puts()
end
