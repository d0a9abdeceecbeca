-- Returns where the log begins and ends, after beginning an epoch where there is none
-- or where it is the one that is to be left.
--
-- KEYS  1 meta  2 log  3 marks
-- ARGV  1 name of an epoch, should one begin  2 epoch to leave, or ''  3 time to live, ms
--
-- Returns {epoch, began, first, last, now}.

local meta, log = KEYS[1], KEYS[2]
local ttl = tonumber(ARGV[3])
local now = clock()
local m = redis.call('HMGET', meta, 'epoch', 'last')
if not m[1] then
  begin(meta, log, KEYS[3], ARGV[1], now, ttl)
elseif m[1] == ARGV[2] then
  redis.call('HSET', meta, 'epoch', ARGV[1], 'since', number(now), 'began', m[2])
end
m = redis.call('HMGET', meta, 'epoch', 'began', 'last')

-- The first entry of the epoch knows what precedes it.
local first = m[3]
local from = m[2]
for i = 1, 1000 do
  local page = redis.call('XRANGE', log, '(' .. from, '+', 'COUNT', 1)
  if not page[1] then break end
  from = page[1][1]
  local fields = page[1][2]
  local epoch, before = string.match(fields[1] == 'e' and fields[2] or '', '^(%w+) (%d+) ')
  if epoch == m[1] then
    first = before
    break
  end
end
return {m[1], m[2], first, m[3], number(now)}
