-- Admits a request whole or not at all; of several reasons not to, the one that lasts longest is told.
-- KEYS from 3: the balances of each budget, each rate, each bound on requests at once.
-- ARGV from 5: hold's id, amount; the number of budgets, rates and bounds; for each budget its limit, whether it is hard, its
-- span in seconds (0: only the present window counts), the number of its windows, and when they start, end and are forgotten;
-- for each rate how many a minute and how many are asked for; for each bound how many there may be.
local now = clock()
local no = barred(now)
if no then return no end
local id, amount = ARGV[5], tonumber(ARGV[6])
-- A client of a cluster may ask twice where a node has gone: nobody knows then which answer is read.
if redis.call('HEXISTS', holds, id) == 1 then return { 'again', { now } } end
local budgets, rates, places = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local seconds = math.floor(now / 1000000)
local told, record, writes, noes = {}, {}, {}, {}
local k, a = 3, 10

for b = 1, budgets do
  local limit, hard, span, windows = tonumber(ARGV[a]), ARGV[a + 1] == '1', tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  a = a + 4
  local at
  for w = 0, windows - 1 do
    if tonumber(ARGV[a + 3 * w]) <= seconds and seconds < tonumber(ARGV[a + 3 * w + 1]) then
      at = w
    end
  end
  if not at then return { 'clock', { now } } end
  local spent, held, slice, parts = 0, 0, 0, {}
  for w = 0, windows - 1 do
    local counts = tonumber(ARGV[a + 3 * w + 1]) + span
    if w == at or (span > 0 and counts > seconds) then
      local s, h, l = balance(KEYS[k + w], now)
      spent, held = spent + s, held + h
      if w == at then slice = l else held = held + l end
      parts[#parts + 1] = { counts, s }
    end
  end
  -- What this replica has leased beforehand is its own to use here too.
  local free, left = limit - spent - held, slice
  if hard and amount > free then
    local wait = -1
    if amount <= limit then
      -- Until enough of what is spent counts no more. What others hold may be given back at any moment.
      local rest, till = spent, seconds
      for _, part in ipairs(parts) do
        if rest > limit - amount then rest, till = rest - part[2], part[1] end
      end
      wait = math.max((till - seconds) * 1000000, 1000000)
    end
    noes[#noes + 1] = { 'budget', b, wait }
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

local spans = {}
for r = 1, rates do
  local minute, cost = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
  -- Nobody owes more than ten minutes' worth: what says so was written before the store's clock was set back.
  local tat = math.min(math.max(tonumber(redis.call('GET', KEYS[k]) or 0), now), now + 600000000)
  local passed = tat + cost * 60000000 / minute
  -- Half a microsecond is what a number of this size cannot tell.
  if passed - now > 60000000.5 then
    local wait = -1
    if cost <= minute then wait = math.ceil(passed - now - 60000000) end
    noes[#noes + 1] = { 'rate', r, wait }
  end
  spans[#spans + 1] = { tat - now, passed - now }
  writes[#writes + 1] = { 'r', KEYS[k], passed }
  k, a = k + 1, a + 2
end

for p = 1, places do
  local taken = 0
  for _, count in ipairs(redis.call('HVALS', KEYS[k])) do taken = taken + tonumber(count) end
  if taken + 1 > tonumber(ARGV[a]) then noes[#noes + 1] = { 'places', p, 1000000 } end
  writes[#writes + 1] = { 'p', KEYS[k] }
  k, a = k + 1, a + 1
end

local worst
local rank = { places = 1, rate = 2, budget = 3 }
for _, no in ipairs(noes) do
  local longer = not worst
  if worst and worst[3] >= 0 then
    local sooner = rank[no[1]] < rank[worst[1]]
    longer = no[3] < 0 or no[3] > worst[3] or (no[3] == worst[3] and sooner)
  elseif worst and no[3] < 0 then
    longer = rank[no[1]] < rank[worst[1]]
  end
  if longer then worst = no end
end
for _, span in ipairs(spans) do
  told[#told + 1] = worst and math.ceil(span[1]) or math.ceil(span[2])
end
if worst then return { worst[1], { now, 0, worst[2], worst[3], unpack(told) } } end

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
    redis.call('SET', key, string.format('%.3f', write[3]), 'PX', int(math.max(write[3] - now, 0) / 1000 + 10000))
  else
    redis.call('HINCRBY', key, me, 1)
    redis.call('EXPIRE', key, 86400)
  end
  if kind ~= 'r' then record[#record + 1] = kind .. key .. '\n' end
end
redis.call('HSET', holds, id, int(amount) .. '\n' .. table.concat(record))
redis.call('EXPIRE', holds, 604800)
return { 'ok', { now, next_sequence(), 0, 0, unpack(told) } }
