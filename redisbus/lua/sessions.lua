-- Reads live sessions of nodes that hold a lease, a page at a time.
--
-- KEYS  1 leases  2 sessions  3 clients
-- ARGV  1 how many to look at  2... from, to of each range of clients
--
-- Returns {range, from, id, record...}: where the next page begins; range is 0 at the end.

local now = clock()
local left = tonumber(ARGV[1])
local leases = {}
local function holds(node)
  if leases[node] == nil then
    leases[node] = tonumber(redis.call('ZSCORE', KEYS[1], node) or 0) > now
  end
  return leases[node]
end

local out = {0, ''}
for i = 2, #ARGV, 2 do
  local page = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[i], ARGV[i + 1], 'LIMIT', 0, left)
  for _, member in ipairs(page) do
    local _, at = unframe(member, 1)
    local id = string.sub(member, at)
    local record = redis.call('HGET', KEYS[2], id)
    local _, behind = unframe(record, 1)
    if holds((unframe(record, behind))) then
      out[#out + 1] = id
      out[#out + 1] = record
    end
  end
  left = left - #page
  if left <= 0 then
    out[1], out[2] = i / 2, '(' .. page[#page]
    break
  end
end
return out
