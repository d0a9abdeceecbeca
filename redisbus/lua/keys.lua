-- Put in front of the scripts that create keys.

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
