-- Makes debts of others debts of a node.
--
-- KEYS  1 leases  2 swept  3 sessions  4 clients  5 nodes  6 owed  7 debts  8 left  9 ended  10 ended.old  11 collected
-- ARGV  1 node  2 number of the call  3 how many at most  4 grace, us
--       5 how long to remember ended sessions, us  6 time to live, ms  7 how long to remember swept nodes, us
--
-- A call repeated with its number returns the same, as far as it is not settled; a late copy of
-- an earlier call does nothing.
--
-- Returns {0}: the node has been swept; or {1, debts}: kind and name, and record in turn.

local leases, swept, collected = KEYS[1], KEYS[2], KEYS[11]
local k = {sessions = KEYS[3], clients = KEYS[4], nodes = KEYS[5], owed = KEYS[6], debts = KEYS[7], left = KEYS[8], ended = KEYS[9]}
local node, call, max, grace, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])

if redis.call('ZSCORE', swept, node) then return {0} end
local now = clock()
local out, list = {}, {}

local before = redis.call('HGET', collected, node)
if before then
  local earlier, at = unframe(before, 1)
  if tonumber(earlier) > tonumber(call) then return {1, out} end
  if earlier == call then
    while at <= #before do
      local debt
      debt, at = unframe(before, at)
      local owed = redis.call('HGET', k.debts, debt)
      if owed then
        local owner, from = unframe(owed, 1)
        if owner == node then
          out[#out + 1] = debt
          out[#out + 1] = string.sub(owed, from)
        end
      end
    end
    return {1, out}
  end
end

local function take(debt, record)
  list[#list + 1] = frame(debt)
  out[#out + 1] = debt
  out[#out + 1] = record
end

-- Nodes without a lease: first what they owe, then what they have.
local at = 0
while #list < max do
  local dead = redis.call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', at, 1)[1]
  if not dead then break end
  if dead == node then
    at = at + 1
  else
    local prefix = frame(dead)
    for _, member in ipairs(range(k.owed, prefix, max - #list)) do
      local debt = string.sub(member, #prefix + 1)
      local _, from = unframe(redis.call('HGET', k.debts, debt), 1)
      local record = string.sub(redis.call('HGET', k.debts, debt), from)
      redis.call('ZREM', k.owed, member)
      owe(k.owed, k.debts, node, debt, record)
      take(debt, record)
      redis.call('ZADD', swept, number(now), dead)
    end
    for i, member in ipairs(range(k.nodes, prefix, max - #list)) do
      if i == 1 then rotate(k.ended, KEYS[10], now, tonumber(ARGV[5]), ttl) end
      local id = string.sub(member, #prefix + 1)
      local record = redis.call('HGET', k.sessions, id)
      finish(k, id, record, node, now + grace)
      take('s' .. id, record)
      redis.call('ZADD', swept, number(now), dead)
    end
    if #range(k.owed, prefix, 1) == 0 and #range(k.nodes, prefix, 1) == 0 then
      redis.call('ZREM', leases, dead)
      redis.call('HDEL', collected, dead)
    else
      break -- max is reached
    end
  end
end

-- Clients that have been away for the grace. One whose previous leaving is still owed
-- waits until that is settled: the two could not be told apart.
at = 0
while #list < max do
  local client = redis.call('ZRANGEBYSCORE', k.left, '-inf', number(now), 'LIMIT', at, 1)[1]
  if not client then break end
  if redis.call('HEXISTS', k.debts, 'c' .. client) == 1 then
    at = at + 1
  else
    redis.call('ZREM', k.left, client)
    owe(k.owed, k.debts, node, 'c' .. client, frame(client) .. frame('') .. '0')
    take('c' .. client, frame(client) .. frame('') .. '0')
  end
end

if #list > 0 then
  redis.call('ZADD', leases, 'NX', 0, node) -- so that others find these debts
  redis.call('ZREMRANGEBYSCORE', swept, '-inf', number(now - tonumber(ARGV[7])))
  redis.call('HSET', collected, node, frame(call) .. table.concat(list))
  expire(ttl, unpack(KEYS))
end
return {1, out}
