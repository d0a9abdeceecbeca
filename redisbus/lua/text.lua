-- Put in front of the scripts that work on the register.

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
