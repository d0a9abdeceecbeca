-- Takes or renews the lease of a node, and with it the life of all keys.
--
-- KEYS  1 meta  2 leases  3 swept  4... all others
-- ARGV  1 node, or '' to renew the keys alone  2 lease, us  3 time to live, ms
--
-- Returns 1, or 0: the node has been swept.

local node, lease, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if node ~= '' and redis.call('ZSCORE', KEYS[3], node) then return 0 end
local now = clock()
local new = node ~= '' and redis.call('ZADD', KEYS[2], number(now + lease), node) == 1

local live = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
if now + math.max(ttl * 875, lease) > live then
  ttl = math.max(ttl, math.ceil(lease / 500))
  for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ttl) end
  if live > 0 then redis.call('HSET', KEYS[1], 'until', number(now + ttl * 1000)) end
elseif new then
  expire(ttl, KEYS[2])
end
return 1
