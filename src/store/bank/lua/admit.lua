-- Admits a request whole or not at all.
-- KEYS from 3: the balances of each budget, each rate, each bound on requests at once.
-- ARGV from 5: hold's id, amount; the number of budgets, rates and bounds; for each budget its limit, whether it is hard, its
-- span in seconds (0: only the present window counts), the number of its windows, and when they start, end and are forgotten;
-- for each rate how many a minute and how many are asked for; for each bound how many there may be.
local now = clock()
local no = barred(now)
if no then return no end
local id, amount = ARGV[5], tonumber(ARGV[6])
local budgets, rates, places = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local k, a = 3, 10
local why, which, wait = 'ok', 0, 0
local told, record, writes = {}, {}, {}
local seconds = math.floor(now / 1000000)

for b = 1, budgets do
  local limit, hard, span, windows = tonumber(ARGV[a]), ARGV[a + 1] == '1', tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  a = a + 4
  local at, ends
  for w = 0, windows - 1 do
    if tonumber(ARGV[a + 3 * w]) <= seconds and seconds < tonumber(ARGV[a + 3 * w + 1]) then
      at, ends = w, tonumber(ARGV[a + 3 * w + 1])
    end
  end
  if not at then return { 'clock', { now } } end
  local spent, held, slice = 0, 0, 0
  for w = 0, at do
    if w == at or tonumber(ARGV[a + 3 * w + 1]) > seconds - span then
      local s, h, l = balance(KEYS[k + w], now)
      spent, held = spent + s, held + h
      if w == at then slice = l else held = held + l end
    end
  end
  local free = limit - spent - held
  -- What this replica has leased beforehand is its own to use here too.
  local left = slice
  if hard and amount > free and why == 'ok' then
    why, which, wait = 'budget', b, -1
    if amount <= limit then
      wait = 1000000
      if span == 0 and spent + amount > limit then wait = ends * 1000000 - now end
    end
  elseif free - amount < slice then
    left = math.max(free - amount, 0)
  end
  told[#told + 1] = at
  told[#told + 1] = spent
  told[#told + 1] = held + slice
  told[#told + 1] = left
  writes[#writes + 1] = { 'b', KEYS[k + at], ARGV[a + 3 * at + 2], slice, left }
  k, a = k + windows, a + 3 * windows
end

for r = 1, rates do
  local minute, cost = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
  local each = 60000000 / minute
  -- Nobody owes more than ten minutes' worth: what says so was written before the store's clock was set back.
  local tat = math.min(math.max(tonumber(redis.call('GET', KEYS[k]) or 0), now), now + 600000000)
  local passed = tat + cost * each
  -- Half a microsecond is what a number of this size cannot tell.
  if passed - now > 60000000.5 then
    if why == 'ok' then
      why, which, wait = 'rate', r, -1
      if cost <= minute then wait = math.ceil(passed - now - 60000000) end
    end
    passed = tat
  end
  told[#told + 1] = tat - now
  told[#told + 1] = passed - now
  writes[#writes + 1] = { 'r', KEYS[k], passed }
  k, a = k + 1, a + 2
end

for p = 1, places do
  local taken = 0
  for _, count in ipairs(redis.call('HVALS', KEYS[k])) do taken = taken + tonumber(count) end
  if taken + 1 > tonumber(ARGV[a]) and why == 'ok' then why, which, wait = 'places', p, 1000000 end
  writes[#writes + 1] = { 'p', KEYS[k] }
  k, a = k + 1, a + 1
end

if why ~= 'ok' then return { why, { now, 0, which, wait, unpack(told) } } end

for _, write in ipairs(writes) do
  local kind, key = write[1], write[2]
  if kind == 'b' then
    if amount > 0 then redis.call('HINCRBY', key, 'h:' .. me, int(amount)) end
    if write[5] < write[4] then
      local till = string.match(redis.call('HGET', key, 'l:' .. me), '@(%d+)$')
      redis.call('HSET', key, 'l:' .. me, int(write[5]) .. '@' .. till)
    end
    redis.call('EXPIREAT', key, write[3])
  elseif kind == 'r' then
    redis.call('SET', key, string.format('%.3f', write[3]), 'PX', int(math.max(write[3] - now, 0) / 1000 + 1000))
  else
    redis.call('HINCRBY', key, me, 1)
    redis.call('EXPIRE', key, 86400)
  end
  if kind ~= 'r' then record[#record + 1] = kind .. key .. '\n' end
end
redis.call('HSET', holds, id, int(amount) .. '\n' .. table.concat(record))
redis.call('EXPIRE', holds, 604800)
return { 'ok', { now, next_sequence(), 0, 0, unpack(told) } }
