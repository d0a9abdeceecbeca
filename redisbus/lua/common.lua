-- Put in front of every script. Times are microseconds of this server's clock,
-- which a Lua number holds exactly until the year 2255; "..", unlike number(), would not.

local function number(n) return string.format('%.0f', n) end

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- frame makes text self-delimiting: its length in four digits, and itself. Members of
-- a sorted set that begin with the same frame stand next to each other.
local function frame(text) return string.format('%04d', #text) .. text end

-- unframe returns the text framed at a place, and the place behind it.
local function unframe(s, at)
  local n = tonumber(string.sub(s, at, at + 3))
  return string.sub(s, at + 4, at + 3 + n), at + 4 + n
end

-- range returns members that begin with prefix. No name holds the byte 255.
local function range(key, prefix, limit)
  return redis.call('ZRANGEBYLEX', key, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, limit)
end

-- expire gives keys that exist and have no time to live one, of ttl milliseconds.
local function expire(ttl, ...)
  for _, key in ipairs({...}) do
    if redis.call('PTTL', key) == -1 then redis.call('PEXPIRE', key, ttl) end
  end
end

-- rotate keeps the fields of the hash new for at least a period: it renames it to
-- old, in place of the old one, when it is a period old. The field '' holds its
-- birth, so that the key is never missing.
local function rotate(new, old, now, period, ttl)
  local born = redis.call('HGET', new, '')
  if born and now - tonumber(born) < period then return end
  if born then
    redis.call('UNLINK', old)
    redis.call('RENAME', new, old)
  else
    redis.call('HSET', old, '', number(now))
    redis.call('PEXPIRE', old, ttl)
  end
  redis.call('HSET', new, '', number(now))
  redis.call('PEXPIRE', new, ttl)
end
