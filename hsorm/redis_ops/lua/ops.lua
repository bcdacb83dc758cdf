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

local function set_fields(op, ...)
  local key = base .. 'e:' .. op.id
  for i = op.del, op.del_end do
    -- Asked first: deleting has the whole entity indexed once more.
    if redis.call('HEXISTS', key, op.args[i]) == 1 then
      redis.call('HDEL', key, op.args[i])
    end
  end
  local fields = {unpack(op.args, op.set, op.set_end)}
  for _, val in ipairs({...}) do
    fields[#fields + 1] = val
  end
  redis.call('HSET', key, unpack(fields))
  for i = op.set, op.set_end, 2 do
    if op.args[i] == 'a' then
      redis.call(op.args[i + 1] == '' and 'SREM' or 'SADD', base .. 'arrays', op.id)
    end
  end
  if op.expires == '-' then
    redis.call('ZREM', base .. 'x', op.id)
  elseif op.expires ~= '' then
    redis.call('ZADD', base .. 'x', op.expires, op.id)
  end
end

local run = {}

function run.p(op)
  local now = stamp()
  set_fields(op, 'v', now)
  redis.call('ZADD', base .. 'log', now, op.id)
  redis.call('ZREM', base .. 'gone', op.id)
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
    op, i = next_op(args, i)
    run[op.kind](op)
  end
end
