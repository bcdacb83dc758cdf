-- channel, id, first key, last key: delete items of a point, and return how many there were; with
-- an empty channel nobody is told.
if redis.call('EXISTS', base .. 'e:' .. ARGV[2]) == 0 then
  return {'stale', ARGV[2]}
end
local count = clear_items(ARGV[2], ARGV[3], ARGV[4])
if count > 0 and ARGV[1] ~= '' then
  note_history(ARGV[2])
  finish(ARGV[1])
end
return {'done', count}
