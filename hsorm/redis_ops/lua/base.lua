-- What every script begins with: the base of the bucket's keys, and its stamps.
local base = KEYS[1]

-- A number as text: Lua's own would write great ones as 1.7e15.
local function text(number)
  return string.format('%.0f', number)
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The bucket's last stamp.
local function sequence()
  return tonumber(redis.call('GET', base .. 'seq') or '0')
end

-- Stamps are microseconds, but each is later than the one before it, whatever the clock does. So
-- they order the changes of a bucket exactly, and those of several buckets as well as clocks do.
local last_stamp
local function stamp()
  if not last_stamp then
    last_stamp = math.max(sequence(), clock() - 1)
  end
  last_stamp = last_stamp + 1
  return text(last_stamp)
end

-- Keep the last stamp that was given, and wake up who waits for changes.
local function finish(channel)
  if last_stamp then
    redis.call('SET', base .. 'seq', text(last_stamp))
    redis.call('PUBLISH', channel, text(last_stamp))
  end
end
