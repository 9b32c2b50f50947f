-- Puts ARGV[1] at KEYS[3] for ARGV[2] ms, and makes room for it: all values of its kind take at most ARGV[3] bytes together.
-- KEYS[1] has each of them as `name:bytes` by the time it ends, KEYS[2] their sum. What ends soonest goes first.
-- With ARGV[5] only over that value, or over none.
if ARGV[5] ~= '' then
  local there = redis.call('GETRANGE', KEYS[3], 0, #ARGV[5])
  if there ~= '' and there ~= ARGV[5] then return 0 end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most = tonumber(ARGV[3])
local sum = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
local before = string.sub(KEYS[3], 1, #KEYS[3] - #ARGV[4])
local function drop(members)
  for _, member in ipairs(members) do
    local name, bytes = string.match(member, '^(%x+):(%d+)$')
    if name then
      redis.call('DEL', before .. name)
      sum = sum - tonumber(bytes)
    end
    redis.call('ZREM', KEYS[1], member)
  end
end
local had = redis.call('STRLEN', KEYS[3])
if had > 0 and redis.call('ZREM', KEYS[1], ARGV[4] .. ':' .. had) == 1 then sum = sum - had end
drop(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 64))
local turns = 0
while sum + #ARGV[1] > most and turns < 64 do
  local soonest = redis.call('ZRANGE', KEYS[1], 0, 0)
  if #soonest == 0 then
    sum = 0
    break
  end
  drop(soonest)
  turns = turns + 1
end
if sum < 0 then sum = 0 end
local kept = 0
if sum + #ARGV[1] <= most then
  local ends = now + tonumber(ARGV[2])
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  redis.call('ZADD', KEYS[1], ends, ARGV[4] .. ':' .. #ARGV[1])
  sum = sum + #ARGV[1]
  kept = 1
end
redis.call('SET', KEYS[2], string.format('%.0f', sum))
return kept
