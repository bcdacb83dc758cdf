-- floor, ids…: what a load is to replace: id, stamp, array and mod, of those that have an array or
-- whose mod is not earlier than floor. Mods are in UTC, as text without the Z at the end.
local mark = '"mod":{"_kind":"dateTime","val":"'
local function mod_of(tags)
  local _, at = string.find(tags, mark, 1, true)
  if not at then return '' end
  if string.find(tags, mark, at, true) then  -- that of a dict inside, one of them
    return string.match(cjson.decode(tags).mod.val, '^[^Z]*')
  end
  return string.match(tags, '^[^Z"]*', at + 1)
end

local rows = {}
for i = 2, #ARGV do
  local doc = redis.call('HMGET', base .. 'e:' .. ARGV[i], 'tags', 'v', 'a')
  if doc[1] then
    local mod, array = mod_of(doc[1]), doc[3] or ''
    if array ~= '' or mod >= ARGV[1] then
      rows[#rows + 1] = {ARGV[i], doc[2], array, mod}
    end
  end
end
return {'done', rows}
