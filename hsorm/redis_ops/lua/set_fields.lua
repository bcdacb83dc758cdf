-- before, after: change which declared indexes are written and searched, if nobody else has.
if (redis.call('GET', base .. 'fields') or '') ~= ARGV[1] then
  return {'fields'}
end
redis.call('SET', base .. 'fields', ARGV[2])
return {'done'}
