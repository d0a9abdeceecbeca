-- Writes facts. The facts of a client are a hash of its own, kind and name ->
-- "until epoch seq tag value"; epoch is - for one without a version.
--
-- KEYS  1 meta  2... the facts of each client
-- ARGV  number of the key, field, time to live in us, epoch, seq, tag, value of each fact

local now = clock()
local present = redis.call('HGET', KEYS[1], 'epoch')

local function parse(record)
  local to, epoch, seq, tag, value = string.match(record, '^(%d+) (%S+) (%d+) (%d+) (.*)$')
  if to and tonumber(to) > now then return epoch, seq, tag, value end
end

local function higher(a, b) return #a > #b or #a == #b and a > b end

for i = 1, #ARGV, 7 do
  local key, field, ttl = KEYS[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 2])
  local epoch, seq, tag, value = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  local was = redis.call('HGET', key, field)
  if was then
    local e, s, t, v = parse(was)
    if e and epoch == '-' then
      epoch, seq, tag = e, s, t
    elseif e and e ~= '-' and (e == epoch and higher(s, seq) or e ~= epoch and e == present) then
      epoch, seq, tag, value = e, s, t, v
    end
  end
  redis.call('HSET', key, field, number(now + ttl) .. ' ' .. epoch .. ' ' .. seq .. ' ' .. tag .. ' ' .. value)
  if redis.call('PTTL', key) < ttl / 1000 then redis.call('PEXPIRE', key, math.ceil(ttl / 1000)) end
  -- Each write looks at some other fields, so that a client whose facts change for ever
  -- does not gather those whose time is over.
  if not was and redis.call('HLEN', key) > 8 then
    for _, other in ipairs(redis.call('HRANDFIELD', key, 3)) do
      if not parse(redis.call('HGET', key, other)) then redis.call('HDEL', key, other) end
    end
  end
end
return 1
