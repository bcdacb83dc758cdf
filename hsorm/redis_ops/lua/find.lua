-- fields, and for each search how many words it has, and these: run searches, unless other indexes
-- are written than they were made for. By RESP3, in which RediSearch says what it cut short.
redis.setresp(3)
if (redis.call('GET', base .. 'fields') or '') ~= ARGV[1] then
  return {'fields'}
end
local answers, i = {'done'}, 2
while i <= #ARGV do
  local last = i + tonumber(ARGV[i])
  answers[#answers + 1] = redis.call(unpack(ARGV, i + 1, last))
  i = last + 1
end
return answers
