-- Put in front of the scripts that end sessions.
--
-- A session stands in the hash sessions, id -> record, and in two sorted sets, under its
-- client and under its node. A record is frame(client) frame(node) first rest; first
-- is 1 if the client was absent before it, rest is opaque.
-- A debt stands in the hash debts, kind and name -> frame(node that owes) record, and in the
-- sorted set owed, under that node.

local function parse(record)
  local client, at = unframe(record, 1)
  local node
  node, at = unframe(record, at)
  return client, node, string.sub(record, at, at)
end

local function owe(owed, debts, node, debt, record)
  redis.call('HSET', debts, debt, frame(node) .. record)
  redis.call('ZADD', owed, 0, frame(node) .. debt)
end

-- finish takes a session out of the live ones and makes it a debt of owner.
local function finish(k, id, record, owner, deadline)
  local client, node, first = parse(record)
  redis.call('HDEL', k.sessions, id)
  redis.call('ZREM', k.clients, frame(client) .. id)
  redis.call('ZREM', k.nodes, frame(node) .. id)
  redis.call('HSET', k.ended, id, first)
  owe(k.owed, k.debts, owner, 's' .. id, record)
  if #range(k.clients, frame(client), 1) == 0 then
    redis.call('ZADD', k.left, number(deadline), client)
  end
end
