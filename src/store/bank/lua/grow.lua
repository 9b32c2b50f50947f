-- Makes a hold larger, or leaves it as it is.
-- KEYS from 3: for each budget the balances that count for its limit.
-- ARGV from 5: the hold's id, how much more it shall hold, the number of budgets; for each its limit, whether it is hard, and the number
-- of its keys.
local now = clock()
local no = barred(now)
if no then return no end
local id, more = ARGV[5], tonumber(ARGV[6])
local record = redis.call('HGET', holds, id)
if not record then return { 'unheld', { now } } end
local amount, lines = parts(record)
local k, a = 3, 8
for b = 1, tonumber(ARGV[7]) do
  local limit, hard, keys = tonumber(ARGV[a]), ARGV[a + 1] == '1', tonumber(ARGV[a + 2])
  local spent, held = 0, 0
  for i = 0, keys - 1 do
    local s, h, l = balance(KEYS[k + i], now)
    spent, held = spent + s, held + h + l
  end
  if hard and spent + held + more > limit then return { 'budget', { now } } end
  k, a = k + keys, a + 3
end
for kind, key in string.gmatch(lines, '(%a)([^\n]*)\n') do
  if kind == 'b' then redis.call('HINCRBY', key, 'h:' .. me, int(more)) end
end
redis.call('HSET', holds, id, int(amount + more) .. '\n' .. lines)
return { 'ok', { now, next_sequence() } }
