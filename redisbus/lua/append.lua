-- The beginning of publish.lua: appends a batch in the common case.
--
-- KEYS  1 meta  2 log  3 marks  4 keys  5 keys.old
-- ARGV  1 field of the producer  2 number of the batch  3 epoch that the node follows, or ''
--       4 "epoch number time " of the batch of the producer that was accepted last, or '';
--         with a space in front if its number is not lower than that of this batch
--       5 name of an epoch, should one begin, retention in us and bytes, idempotency window in us, time to live in ms,
--         and, where the epoch in 4 is not that in 3, how long ago that batch was accepted, at least, in us
--       6... of each chunk of messages: key, how many, what they weigh, the messages
--
-- A chunk is messages that become one element of the stream: one with a key, or some without.
-- Its messages are numbered one after the other, and the last number is the element's id.
--
-- Returns what is kept of the batch: "epoch number time positions". Or 0: there was a batch with a
-- higher number; or 2: this is not the epoch that the node follows; or {3, epoch}: the batch that was
-- accepted last is not here, and that has not been announced to all by the epoch, which began before.
-- Positions are words: epoch.seq, and +n if n messages from there on are meant.

-- higher compares numbers in decimal digits.
local function higher(a, b) return #a > #b or #a == #b and a > b end

local meta, log = KEYS[1], KEYS[2]
local producer, batch = ARGV[1], ARGV[2]
local chunks = 6

local now = clock()
local m = redis.call('HMGET', meta, 'epoch', 'last', 'server', 'size', producer)
local here = server()
local foreign = ARGV[3] ~= '' and ARGV[3] ~= m[1]

-- What the node knows to have been accepted must be here, unless this epoch has begun after that. As a rule
-- it is the newest batch of the producer here.
local previous, known, knowntime
local inorder = m[5] and ARGV[4] ~= '' and string.sub(m[5], 1, #ARGV[4]) == ARGV[4]
if not inorder then
  previous = m[5] and string.match(m[5], '^%w+ (%d+)')
  local epoch, number, at = string.match(ARGV[4], '^ ?(%w+) (%d+) (%d+) $')
  local announced = not m[1] or not epoch
  if not announced and epoch ~= m[1] then
    local since = tonumber(redis.call('HGET', meta, 'since') or 0)
    local ago = tonumber(string.match(ARGV[5], '^%w+ %d+ %d+ %d+ %d+ (%d+)$'))
    announced = since <= now and now - since <= (ago or 0)
  end
  if not announced then known, knowntime = number, tonumber(at) end
  inorder = previous and higher(batch, previous) and not (known and higher(known, previous))
end

-- append appends a chunk. It returns its number in digits or, in a table, an error.
local function append(epoch, before, id, count, data)
  local name = number(id)
  local head = epoch .. ' ' .. before .. ' ' .. number(id - now) .. ' ' .. count .. '\n'
  local reply = redis.pcall('XADD', log, name .. '-0', 'e', head .. data)
  return type(reply) == 'table' and reply or name
end

-- record is what is kept of the last batch of a producer.
local function record(epoch, positions) return epoch .. ' ' .. batch .. ' ' .. number(now) .. ' ' .. positions end

-- One chunk without a key, the producer's next batch, and nothing else to do.
if inorder and #ARGV == chunks + 3 and ARGV[chunks] == '' and here == m[3] and not foreign then
  local count = ARGV[chunks + 1]
  local total, _, room, due = struct.unpack(size, m[4])
  total = total + ARGV[chunks + 2]
  if total < room and now < due then
    local last = append(m[1], m[2], math.max(now, m[2] + 1) + count - 1, count, ARGV[chunks + 3])
    if type(last) == 'string' then
      local position = m[1] .. '.' .. last
      if count ~= '1' then position = m[1] .. '.' .. number(last - count + 1) .. '+' .. count end
      local kept = record(m[1], position)
      redis.call('HSET', meta, 'last', last, 'size', struct.pack(size, total, now, room, due), producer, kept)
      return kept
    end
  end
end
