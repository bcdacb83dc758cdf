-- token, milliseconds: hold on to one's turn at changing the index for so long; for none, end it.
if redis.call('GET', base .. 'indexing') ~= ARGV[1] then
  return {'lost'}
end
if ARGV[2] == '0' then
  redis.call('DEL', base .. 'indexing')
else
  redis.call('PEXPIRE', base .. 'indexing', ARGV[2])
end
return {'done'}
