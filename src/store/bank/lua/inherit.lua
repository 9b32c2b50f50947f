-- Moves the holds of a replica whose lease has run out to this one, which charges them. The dead replica's generation ends, so
-- that it cannot admit before it has come back in order.
-- KEYS from 3: the dead replica's holds, the list of what was taken from it, and all keys that are touched.
-- ARGV from 5: the dead replica's name, the lease in microseconds, the most that is moved at once.
local now = clock()
local no = barred(now)
if no then return no end
local dead, lease, most = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local f = redis.call('HMGET', fleet, 'beat:' .. dead, 'since:' .. me)
if not f[1] or now - tonumber(f[1]) <= lease or now - tonumber(f[2]) < lease then return { 'alive', { now } } end
redis.call('HDEL', fleet, 'gen:' .. dead)
local theirs, taken = KEYS[3], KEYS[4]
local moved = {}
local all = redis.call('HGETALL', theirs)
for i = 1, math.min(#all, 2 * most), 2 do
  local id, record = all[i], all[i + 1]
  release(theirs, dead, id)
  local amount, lines = parts(record)
  local rest = { 'i\n' }
  for kind, key in string.gmatch(lines, '(%a)([^\n]*)\n') do
    if kind == 'b' then
      if amount > 0 then redis.call('HINCRBY', key, 'h:' .. me, int(amount)) end
      rest[#rest + 1] = 'b' .. key .. '\n'
    end
  end
  local mine = int(amount) .. '\n' .. table.concat(rest)
  redis.call('HSET', holds, id, mine)
  redis.call('HSET', taken, id, me)
  moved[#moved + 1] = id
  moved[#moved + 1] = mine
end
if #moved > 0 then redis.call('EXPIRE', taken, 604800) end
-- Its sequence number stays: should it come back, nothing of what it knows is lost.
if #all <= 2 * most then redis.call('HDEL', fleet, 'beat:' .. dead, 'since:' .. dead) end
return { 'ok', { now, next_sequence(), #all / 2 }, moved }
