-- Gives up the lease of a node.
--
-- KEYS  1 leases  2 nodes  3 owed  4 collected
-- ARGV  1 node

local node = ARGV[1]
redis.call('HDEL', KEYS[4], node)
if #range(KEYS[2], frame(node), 1) > 0 or #range(KEYS[3], frame(node), 1) > 0 then
  redis.call('ZADD', KEYS[1], 'XX', 0, node) -- over, and found by those who collect
else
  redis.call('ZREM', KEYS[1], node)
end
return 1
