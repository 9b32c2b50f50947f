-- Stands before every script. KEYS[1] is the fleet's hash, KEYS[2] this replica's holds; ARGV begins with its name, its
-- generation, the epoch that it knows, and the last sequence number that was acknowledged to it.
local fleet, holds = KEYS[1], KEYS[2]
local me, generation, epoch, sequence = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

-- The store's clock in microseconds: the only one that is asked.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Whole numbers as text: Lua by itself writes large ones with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

-- Whether this replica may speak: nil if it may.
local function barred(now, beating)
  local f = redis.call('HMGET', fleet, 'epoch', 'gen:' .. me, 'seq:' .. me, 'open')
  if f[1] ~= epoch then return { 'lost', { now } } end
  if f[2] ~= generation then return { 'gone', { now } } end
  if tonumber(f[3] or 0) < sequence then return { 'stale', { now } } end
  local left = tonumber(f[4]) - now
  -- An epoch opens within a minute: what says more was written before the store's clock was set back.
  if not beating and left > 0 and left <= 60000000 then return { 'opening', { now, left } } end
  return nil
end

local function next_sequence()
  return redis.call('HINCRBY', fleet, 'seq:' .. me, 1)
end

-- What a balance says: spent, held by requests and by other replicas' slices, this replica's own slice.
local function balance(key, now)
  local spent, held, slice = 0, 0, 0
  local f = redis.call('HGETALL', key)
  for i = 1, #f, 2 do
    local kind = string.sub(f[i], 1, 1)
    if kind == 's' then
      spent = spent + tonumber(f[i + 1])
    elseif kind == 'h' then
      held = held + tonumber(f[i + 1])
    elseif kind == 'l' then
      local amount, till = string.match(f[i + 1], '^(%d+)@(%d+)$')
      if tonumber(till) > now then
        if f[i] == 'l:' .. me then slice = tonumber(amount) else held = held + tonumber(amount) end
      end
    end
  end
  return spent, held, slice
end

local function take(key, field, amount)
  if amount == 0 then return end
  if redis.call('HINCRBY', key, field, '-' .. int(amount)) <= 0 then redis.call('HDEL', key, field) end
end

-- Splits a hold as it is stored: its amount, then a line for each thing that it counts in.
local function parts(record)
  local amount, lines = string.match(record, '^(%d+)\n(.*)$')
  return tonumber(amount), lines
end

-- Gives back what a hold of `who` holds, all of it. False if there is none.
local function release(store, who, id)
  local record = redis.call('HGET', store, id)
  if not record then return false end
  local amount, lines = parts(record)
  for kind, key in string.gmatch(lines, '(%a)([^\n]*)\n') do
    if kind == 'b' then take(key, 'h:' .. who, amount) elseif kind == 'p' then take(key, who, 1) end
  end
  redis.call('HDEL', store, id)
  return true
end
