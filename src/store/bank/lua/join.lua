-- Writes all that this replica holds and has spent, as it is, and takes part from then on. Where the fleet's hash is gone, or
-- older than what this replica knows, a new epoch begins, in which nobody is admitted until all had the time to do the same.
-- KEYS from 3: balances, then bounds on requests at once.
-- ARGV from 5: how long an epoch opens, in microseconds; whether what stands here is doubted; the numbers of balances, bounds
-- and holds; for each balance what is spent, held, leased and until when, and when it is forgotten; for each bound how many
-- places are taken; for each hold its id and its record.
local now = clock()
local opens, doubted = tonumber(ARGV[5]), ARGV[6] == '1'
for i = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= 'hash' then
    redis.call('DEL', KEYS[i])
    doubted = true
  end
end
local f = redis.call('HMGET', fleet, 'epoch', 'seq:' .. me, 'open')
local current, known = tonumber(f[1] or 0) or 0, tonumber(epoch)
local open = tonumber(f[3] or '') or 0
if (tonumber(f[2] or 0) or 0) < sequence then doubted = true end
local balances, places, count = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if known == 0 then
  -- All that a former life charged was held here before: less than that, and something was lost.
  for b = 1, balances do
    local mine = redis.call('HMGET', KEYS[2 + b], 's:' .. me, 'h:' .. me)
    local had = (tonumber(mine[1] or 0) or 0) + (tonumber(mine[2] or 0) or 0)
    if tonumber(ARGV[10 + 5 * (b - 1)]) > had then doubted = true end
  end
end
if current == 0 or current < known or (doubted and (current == known or known == 0) and now >= open) then
  current = math.max(now, known + 1)
  open = now + opens
  redis.call('HSET', fleet, 'epoch', int(current), 'open', int(open))
end
redis.call('HSET', fleet, 'gen:' .. me, generation, 'beat:' .. me, int(now), 'since:' .. me, int(now))
redis.call('HSET', fleet, 'seq:' .. me, int(math.max(tonumber(f[2] or 0) or 0, sequence) + 1))
redis.call('EXPIRE', fleet, 2592000)
local a = 10
local function set(key, field, value)
  if tonumber(value) > 0 then redis.call('HSET', key, field, value) else redis.call('HDEL', key, field) end
end
for b = 1, balances do
  local key = KEYS[2 + b]
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local value = all[i + 1]
    local sound = string.match(value, '^%d+$')
    if string.sub(all[i], 1, 1) == 'l' then sound = string.match(value, '^%d+@%d+$') end
    if not sound then redis.call('HDEL', key, all[i]) end
  end
  local spent = math.max(tonumber(ARGV[a]), tonumber(redis.call('HGET', key, 's:' .. me) or 0))
  set(key, 's:' .. me, int(spent))
  set(key, 'h:' .. me, ARGV[a + 1])
  if tonumber(ARGV[a + 2]) > 0 then
    redis.call('HSET', key, 'l:' .. me, ARGV[a + 2] .. '@' .. int(now + tonumber(ARGV[a + 3])))
  else
    redis.call('HDEL', key, 'l:' .. me)
  end
  redis.call('EXPIREAT', key, ARGV[a + 4])
  a = a + 5
end
for p = 1, places do
  set(KEYS[2 + balances + p], me, ARGV[a])
  redis.call('EXPIRE', KEYS[2 + balances + p], 86400)
  a = a + 1
end
redis.call('DEL', holds)
for _ = 1, count do
  redis.call('HSET', holds, ARGV[a], ARGV[a + 1])
  a = a + 2
end
redis.call('EXPIRE', holds, 604800)
return { 'ok', { now, tonumber(redis.call('HGET', fleet, 'seq:' .. me)), current, math.max(open - now, 0) } }
