-- Appends one batch.
--
-- KEYS  1 meta  2 log  3 marks  4 producers  5 producers.old  6 keys  7 keys.old
-- ARGV  1 producer  2 number of the batch  3 name of an epoch, should one begin
--       4 retention, us  5 retention, bytes
--       6 idempotency window, us  7 time to live, ms
--       8... of each chunk of messages: key, how many, what they weigh, the messages
--
-- A chunk is messages that become one element of the stream: one with a key, or some without.
-- Its messages are numbered one after the other, and the last number is the element's id.
--
-- Returns {1, positions} or {0}: there was a batch with a higher number. Positions
-- are words: epoch.seq, and +n if n messages from there on are meant.

local meta, log, marks, producers, keys = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local producer, batch = ARGV[1], ARGV[2]
local age, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local window, ttl = tonumber(ARGV[6]), tonumber(ARGV[7])
local chunks = 8

local known = redis.call('HMGET', producers, producer, '')
local record = known[1] or redis.call('HGET', KEYS[5], producer)
if record then
  local n, positions = string.match(record, '^(%d+) (.*)$')
  if n == batch then
    redis.call('HSET', producers, producer, record) -- a write, for the WAIT that may follow
    expire(ttl, producers)
    return {1, positions}
  end
  if #n > #batch or #n == #batch and n > batch then return {0} end
end

local now = clock()
local function read()
  return redis.call('HMGET', meta, 'epoch', 'last', 'server', 'total', 'at', 'until', 'trimmed', 'marked', 'markedat', 'oldest')
end
local m = read()
if not m[1] then
  begin(meta, log, marks, ARGV[3], now, ttl)
  m = read()
end
local epoch, last, total, at, live = m[1], tonumber(m[2]), tonumber(m[4]), tonumber(m[5]), tonumber(m[6])
local trimmed, marked, markedat, oldest = tonumber(m[7]), tonumber(m[8]), tonumber(m[9]), tonumber(m[10])
if total == 0 then live = 0 end -- the log is about to be created


-- What of the record changes, but for what always does.
local changes = {}
local function change(field, value)
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end

local here = server()
local seq = math.max(now, last + 1)
if here ~= m[3] then
  seq = math.max(now, last) + jump
  change('server', here)
end

-- Which keys were accepted before, and where.
local seen, asked = {}, {}
for i = chunks, #ARGV, 4 do
  if ARGV[i] ~= '' then asked[#asked + 1] = ARGV[i] end
end
for i = 1, #asked, 1000 do
  local to = math.min(i + 999, #asked)
  for old = 0, 1 do
    local found = redis.call('HMGET', KEYS[6 + old], unpack(asked, i, to))
    for j = i, to do
      seen[asked[j]] = seen[asked[j]] or found[j - i + 1]
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
    change('oldest', number(at))
  end
  marked, markedat = total, at
  change('marked', number(total))
  change('markedat', number(at))
end
if total > marked and now - markedat >= age / 128 then mark(last, total, at) end

local function append(id, count, data)
  local head = epoch .. ' ' .. number(last) .. ' ' .. number(id - now) .. ' ' .. number(count)
  return redis.pcall('XADD', log, number(id) .. '-0', 'h', head, 'd', data)
end

-- Positions, those of neighbours in one word.
local words, run, length = {}, nil, 0
local function flush()
  if length > 1 then run = run .. '+' .. number(length) end
  if length > 0 then words[#words + 1] = run end
  length = 0
end

local accepted = {}
for i = chunks, #ARGV, 4 do
  local key, count, data = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 3]
  if key ~= '' and seen[key] then
    flush()
    words[#words + 1] = seen[key]
  else
    local reply = append(seq + count - 1, count, data)
    if type(reply) == 'table' and reply.err then
      -- Somebody else's entry may be in the way; else it is an error like others.
      local highest = top(log)
      if highest < seq + count - 1 then return reply end
      if highest >= limit then
        redis.call('UNLINK', log)
        epoch, live = ARGV[3], 0
        redis.call('HSET', meta, 'epoch', epoch, 'began', number(last))
      else
        flush()
        seq = highest + 1
      end
      reply = append(seq + count - 1, count, data)
      if type(reply) == 'table' and reply.err then return reply end
    end
    if length == 0 then run = epoch .. '.' .. number(seq) end
    length = length + count
    if key ~= '' then
      seen[key] = epoch .. '.' .. number(seq)
      accepted[#accepted + 1] = key
      accepted[#accepted + 1] = seen[key]
    end
    last = seq + count - 1
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
  change('trimmed', number(trimmed))
  change('oldest', number(oldest))
end

if now + ttl * 875 > live then
  for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ttl) end
  change('until', number(now + ttl * 1000))
end

if #accepted > 0 then
  rotate(keys, KEYS[7], now, window, ttl)
  for i = 1, #accepted, 1000 do
    redis.call('HSET', keys, unpack(accepted, i, math.min(i + 999, #accepted)))
  end
end
if not known[2] or now - tonumber(known[2]) >= age then rotate(producers, KEYS[5], now, age, ttl) end
local positions = table.concat(words, ' ')
redis.call('HSET', producers, producer, batch .. ' ' .. positions)
redis.call('HSET', meta, 'last', number(last), 'total', number(total), 'at', number(now), unpack(changes))
return {1, positions}
