-- fields, channel, unless, changes…: make the changes if each is based on what is there.
-- fields: which declared indexes the entities were written for; returns {'fields'} for others
-- unless: a query that must find nothing, empty for none; returns {'found'} where it does
if (redis.call('GET', base .. 'fields') or '') ~= ARGV[1] then
  return {'fields'}
end
if ARGV[3] ~= '' then
  local found = redis.call('FT.SEARCH', base .. 'ix', ARGV[3], 'NOCONTENT', 'LIMIT', '0', '0',
    'TIMEOUT', '86400000', 'DIALECT', '2')
  if found[1] ~= 0 then
    return {'found'}
  end
end
local stale = first_stale(ARGV, 4)
if stale then
  return {'stale', stale}
end
run_all(ARGV, 4)
finish(ARGV[2])
return {'done'}
