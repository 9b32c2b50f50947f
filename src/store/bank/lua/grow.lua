-- Makes a hold larger, or leaves it as it is.
-- KEYS from 3: for each hard budget the balances of the windows that count beside the one that the hold stands in.
-- ARGV from 5: the hold's id, how much more it shall hold, the number of those budgets; for each its limit, the number of its
-- windows and which of them the hold stands in, and for each window when it starts and until when it counts.
local now = clock()
local no = barred(now)
if no then return no end
local id, more = ARGV[5], tonumber(ARGV[6])
local record = redis.call('HGET', holds, id)
if not record then return { 'unheld', { now } } end
local amount, lines = parts(record)
local k, a = 3, 8
for _ = 1, tonumber(ARGV[7]) do
  local limit, count, mine = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  a = a + 3
  local windows = {}
  for w = 1, count do
    local spent, held, slice = balance(KEYS[k + w - 1], now)
    windows[w] = { tonumber(ARGV[a]), tonumber(ARGV[a + 1]), spent + held + slice }
    a = a + 2
  end
  k = k + count
  -- In every span in which the hold counts.
  for _, view in ipairs(windows) do
    if windows[mine][1] <= view[1] and view[1] < windows[mine][2] then
      local sum = 0
      for _, one in ipairs(windows) do
        if one[1] <= view[1] and view[1] < one[2] then sum = sum + one[3] end
      end
      if sum + more > limit then return { 'budget', { now } } end
    end
  end
end
for kind, key in string.gmatch(lines, '(%a)([^\n]*)\n') do
  if kind == 'b' then redis.call('HINCRBY', key, 'h:' .. me, int(more)) end
end
redis.call('HSET', holds, id, int(amount + more) .. '\n' .. lines)
return { 'ok', { now, next_sequence() } }
