-- Says that this replica is on its way back, and which of its former life's holds another has taken over.
-- KEYS[3]: the list of what was taken from it. ARGV from 5: holds.
local now = clock()
if redis.call('HEXISTS', fleet, 'epoch') == 1 then redis.call('HSET', fleet, 'beat:' .. me, int(now)) end
local gone = {}
for i = 5, #ARGV do
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then gone[#gone + 1] = ARGV[i] end
end
return { 'ok', { now }, gone }
