-- Gives holds back, makes others smaller, sets token rates right, and writes this replica's own totals. What was done already
-- is not done again: a hold is given back once, and a total is what all came to, not what was added.
-- KEYS from 3: all keys that are touched; the first of them are those of the totals.
-- ARGV from 5: the number of holds; for each its id, what it shall hold from now on (-1: nothing, it is over), and the number
-- of its rates with key, how many a minute and how many more were used than asked for; then the number of totals, for each the
-- total and when its balance is forgotten.
local now = clock()
local no = barred(now, true)
if no then return no end
local a = 6
for _ = 1, tonumber(ARGV[5]) do
  local id, rest, rates = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  a = a + 3
  local there = false
  if rest < 0 then
    there = release(holds, me, id)
  else
    local record = redis.call('HGET', holds, id)
    if record then
      local amount, lines = parts(record)
      if rest < amount then
        for kind, key in string.gmatch(lines, '(%a)([^\n]*)\n') do
          if kind == 'b' then take(key, 'h:' .. me, amount - rest) end
        end
        redis.call('HSET', holds, id, int(rest) .. '\n' .. lines)
      end
    end
  end
  for _ = 1, rates do
    local key, minute, more = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
    a = a + 3
    local tat = tonumber(redis.call('GET', key) or 0)
    if there and (tat > now or more > 0) then
      -- What was taken beyond what was asked for is owed from now on: nobody has saved up for it.
      if more > 0 then tat = math.max(tat, now) end
      tat = tat + more * 60000000 / minute
      if tat > now then
        redis.call('SET', key, string.format('%.3f', tat), 'PX', int((tat - now) / 1000 + 10000))
      else
        redis.call('DEL', key)
      end
    end
  end
end
local told = {}
local totals = tonumber(ARGV[a])
for t = 1, totals do
  local key, total, till = KEYS[2 + t], tonumber(ARGV[a + 2 * t - 1]), ARGV[a + 2 * t]
  if total > tonumber(redis.call('HGET', key, 's:' .. me) or 0) then
    redis.call('HSET', key, 's:' .. me, int(total))
    redis.call('EXPIREAT', key, till)
  end
  local spent, held, slice = balance(key, now)
  told[#told + 1] = spent
  told[#told + 1] = held + slice
end
return { 'ok', { now, next_sequence(), unpack(told) } }
