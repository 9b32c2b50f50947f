-- Says that this replica lives, renews its slices, and tells whose lease has run out.
-- KEYS from 3: balances. ARGV from 5: the lease and how long a slice lasts, in microseconds; then for each balance the limit,
-- and how large a slice of it is wanted at most.
local now = clock()
local no = barred(now, true)
if no then return no end
local lease, lasts = tonumber(ARGV[5]), tonumber(ARGV[6])
local f = redis.call('HGETALL', fleet)
local fields = {}
for i = 1, #f, 2 do fields[f[i]] = f[i + 1] end
-- After a gap, be it ours or the store's, everybody has the time of a lease to come back.
local since, last = tonumber(fields['since:' .. me] or now), tonumber(fields['beat:' .. me] or 0)
if now - last > lease or last > now then since = now end
redis.call('HSET', fleet, 'beat:' .. me, int(now), 'since:' .. me, int(since))
redis.call('EXPIRE', fleet, 2592000)
redis.call('EXPIRE', holds, 604800)
local living, dead = 0, {}
for field, value in pairs(fields) do
  local who = string.match(field, '^beat:(.*)$')
  if who and who ~= me then
    if now - tonumber(value) <= lease then
      living = living + 1
    elseif now - since >= lease then
      dead[#dead + 1] = who
    end
  end
end
local told = {}
for i = 3, #KEYS do
  local limit, wanted = tonumber(ARGV[7 + 2 * (i - 3)]), tonumber(ARGV[8 + 2 * (i - 3)])
  local spent, held = balance(KEYS[i], now)
  -- Of what is left never more than a quarter, so that slices melt away as the budget does.
  local amount = math.floor(math.max(math.min(wanted, (limit - spent - held) / 4), 0))
  if amount > 0 then
    redis.call('HSET', KEYS[i], 'l:' .. me, int(amount) .. '@' .. int(now + lasts))
  else
    redis.call('HDEL', KEYS[i], 'l:' .. me)
  end
  told[#told + 1] = amount
  told[#told + 1] = spent
  told[#told + 1] = held + amount
end
return { 'ok', { now, next_sequence(), living + 1, unpack(told) }, dead }
