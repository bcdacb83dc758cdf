-- Nothing is read or written while a transaction has the bucket: who asked settles that first.
local holder = redis.call('GET', base .. 'lock')
if holder then
  return {'locked', holder}
end
