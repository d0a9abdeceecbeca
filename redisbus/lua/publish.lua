-- The rest of publish.lua: appends a batch in all cases. Variables not defined here are append.lua's.

local marks, keys = KEYS[3], KEYS[4]
local newepoch, age, bytes, window, ttl = string.match(ARGV[5], '^(%w+) (%d+) (%d+) (%d+) (%d+)')
age, bytes, window, ttl = tonumber(age), tonumber(bytes), tonumber(window), tonumber(ttl)
local keep = ttl * 1000 -- the records of producers

if previous == batch then
  local kept = record(m[1], string.match(m[5], '^%w+ %d+ %d+ (.*)$'))
  redis.call('HSET', meta, producer, kept) -- a write also for the WAIT that may follow
  return kept
end
if previous and not higher(batch, previous) then return 0 end
if foreign then return 2 end
if known and previous and higher(known, previous) then return {3, m[1]} end

if not m[1] then
  begin(meta, log, marks, newepoch, now, ttl)
  m = redis.call('HMGET', meta, 'epoch', 'last', 'server', 'size')
end
local epoch, last, text = m[1], tonumber(m[2]), m[2] -- text is last in digits
local total, at = struct.unpack(size, m[4])
local rest = redis.call('HMGET', meta, 'until', 'trim')
local live = tonumber(rest[1])
local trimmed, marked, markedat, oldest, swept, forgot = struct.unpack(trim, rest[2])
if known and not previous and knowntime > forgot then return {3, epoch} end
if total == 0 then live = 0 end -- the log is about to be created

local seq = math.max(now, last + 1)
if here ~= m[3] then seq = math.max(now, last) + jump + apart(here) end

-- Which keys were accepted before, and where; nil where no message has a key.
local seen, asked
for i = chunks, #ARGV, 4 do
  if ARGV[i] ~= '' then
    seen, asked = seen or {}, asked or {}
    asked[#asked + 1] = ARGV[i]
  end
end
if seen then
  for i = 1, #asked, 1000 do
    local to = math.min(i + 999, #asked)
    for old = 0, 1 do
      local found = redis.call('HMGET', KEYS[4 + old], unpack(asked, i, to))
      for j = i, to do
        seen[asked[j]] = seen[asked[j]] or found[j - i + 1]
      end
    end
  end
end

-- A mark says: up to seq, total bytes, accepted until at. The log is trimmed from mark to
-- mark, so that nobody has to read an entry to know what it weighs.
local function mark(seq, total, at)
  local text = number(seq) .. ' ' .. number(total) .. ' ' .. number(at)
  if redis.call('RPUSH', marks, text) == 1 then
    redis.call('PEXPIRE', marks, ttl)
    oldest = at
  end
  marked, markedat = total, at
end
if total > marked and now - markedat >= age / 128 then mark(last, total, at) end

-- Positions, those of neighbours in one word.
local words, run, length = {}, nil, 0
local function flush()
  if length > 1 then run = run .. '+' .. length end
  if length > 0 then words[#words + 1] = run end
  length = 0
end

local accepted = {}
for i = chunks, #ARGV, 4 do
  local key, count, data = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 3]
  if seen and seen[key] then
    flush()
    words[#words + 1] = seen[key]
  else
    local name = append(epoch, text, seq + count - 1, count, data)
    if type(name) == 'table' then
      -- Somebody else's entry may be in the way; else it is an error like others.
      local highest = top(log)
      if highest < seq + count - 1 then return name end
      if highest >= limit then
        redis.call('UNLINK', log)
        epoch, live = newepoch, 0
        redis.call('HSET', meta, 'epoch', epoch, 'since', number(now), 'began', text)
      else
        flush()
        seq = highest + 1
      end
      name = append(epoch, text, seq + count - 1, count, data)
      if type(name) == 'table' then return name end
    end
    last, text = seq + count - 1, name
    if length == 0 then run = epoch .. '.' .. (count == 1 and text or number(seq)) end
    length = length + count
    if key ~= '' then
      seen[key] = epoch .. '.' .. text
      accepted[#accepted + 1] = key
      accepted[#accepted + 1] = seen[key]
    end
    seq = last + 1
    total = total + tonumber(ARGV[i + 2])
    if total - marked >= bytes / 128 then mark(last, total, now) end
  end
end
flush()

local through
while total - trimmed > bytes or oldest <= now - age do
  local first = redis.call('LINDEX', marks, 0)
  local s, b, t = string.match(first or '', '(%d+) (%d+) (%d+)')
  oldest = tonumber(t or now)
  if not s or tonumber(s) >= last or total - trimmed <= bytes and oldest > now - age then break end
  redis.call('LPOP', marks)
  through, trimmed = tonumber(s), tonumber(b)
end
if through then
  redis.call('XTRIM', log, 'MINID', number(through + 1))
end

if here ~= m[3] then redis.call('HSET', meta, 'server', here) end
if now + ttl * 875 > live then
  for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ttl) end
  live = now + ttl * 1000
  redis.call('HSET', meta, 'until', number(live))
end

if #accepted > 0 then
  rotate(keys, KEYS[5], now, window, ttl)
  for i = 1, #accepted, 1000 do
    redis.call('HSET', keys, unpack(accepted, i, math.min(i + 999, #accepted)))
  end
end
if now - swept >= keep then
  local fields = redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do
    local at = string.find(fields[i], '^by ') and string.match(fields[i + 1], '^%w+ %d+ (%d+)')
    if at and now - at >= keep then
      redis.call('HDEL', meta, fields[i])
      forgot = math.max(forgot, tonumber(at))
    end
  end
  swept = now
end

local kept = record(epoch, table.concat(words, ' '))
local room = math.min(marked + bytes / 128, trimmed + bytes)
local due = math.min(markedat + age / 128, oldest + age, live - ttl * 875, swept + keep)
redis.call('HSET', meta, 'last', text, 'size', struct.pack(size, total, now, room, due),
  'trim', struct.pack(trim, trimmed, marked, markedat, oldest, swept, forgot), producer, kept)
return kept
