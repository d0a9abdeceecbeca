-- Strikes debts off the list of a node.
--
-- KEYS  1 owed  2 debts
-- ARGV  1 node  2... kind and name of each debt

local prefix = frame(ARGV[1])
for i = 2, #ARGV do
  if redis.call('ZREM', KEYS[1], prefix .. ARGV[i]) == 1 then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
return 1
