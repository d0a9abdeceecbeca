-- Registers and ends sessions of a node.
--
-- KEYS  1 leases  2 swept  3 sessions  4 clients  5 nodes  6 owed  7 debts  8 left  9 ended  10 ended.old
-- ARGV  1 node  2 grace, us  3 how long to remember ended sessions, us  4 time to live, ms
--       5 how many to add, then id, client, rest of each; then the ids to end
--
-- Returns {0}: the node has been swept; or {1, now, firsts, ended}: firsts are the
-- places, from 1, of the sessions before which their client was absent; ended are
-- id and record in turn.

local k = {sessions = KEYS[3], clients = KEYS[4], nodes = KEYS[5], owed = KEYS[6], debts = KEYS[7], left = KEYS[8], ended = KEYS[9]}
local node, grace, period, ttl, add = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

if redis.call('ZSCORE', KEYS[2], node) then return {0} end
local now = clock()
-- So that others find its sessions, a node without a lease has one that is over.
redis.call('ZADD', KEYS[1], 'NX', 0, node)
rotate(k.ended, KEYS[10], now, period, ttl)

local firsts = {}
for i = 1, add do
  local id, client, rest = ARGV[3 + 3 * i], ARGV[4 + 3 * i], ARGV[5 + 3 * i]
  local first = redis.call('HGET', k.ended, id) or redis.call('HGET', KEYS[10], id)
  if not first then
    local record, owner = redis.call('HGET', k.sessions, id), node
    if record then
      client, owner, first = parse(record)
    else
      first = '0'
      if redis.call('ZREM', k.left, client) == 0 and #range(k.clients, frame(client), 1) == 0 then first = '1' end
      redis.call('ZADD', k.clients, 0, frame(client) .. id)
      redis.call('ZADD', k.nodes, 0, frame(node) .. id)
    end
    if owner == node then
      redis.call('HSET', k.sessions, id, frame(client) .. frame(node) .. first .. rest)
    end
  end
  if first == '1' then firsts[#firsts + 1] = i end
end

local ended = {}
for i = 6 + 3 * add, #ARGV do
  local id = ARGV[i]
  local record = redis.call('HGET', k.sessions, id)
  if record then
    local _, owner = parse(record)
    if owner == node then finish(k, id, record, node, now + grace) end
  end
  local debt = redis.call('HGET', k.debts, 's' .. id)
  if debt then
    local owner, at = unframe(debt, 1)
    if owner == node then
      ended[#ended + 1] = id
      ended[#ended + 1] = string.sub(debt, at)
    end
  elseif not record and redis.call('HEXISTS', KEYS[10], id) == 0 then
    redis.call('HSETNX', k.ended, id, '0') -- its registration may still be on its way
  end
end

expire(ttl, unpack(KEYS))
return {1, number(now), firsts, ended}
