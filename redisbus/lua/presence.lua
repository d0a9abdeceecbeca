-- Returns the presence of clients, a digit for each.
--
-- KEYS  1 leases  2 sessions  3 clients  4 left
-- ARGV  clients

local now = clock()
local out = {}
for i, client in ipairs(ARGV) do
  local prefix = frame(client)
  local from, state = '[' .. prefix, 0
  while true do
    local page = redis.call('ZRANGEBYLEX', KEYS[3], from, '(' .. prefix .. '\255', 'LIMIT', 0, 16)
    for _, member in ipairs(page) do
      local record = redis.call('HGET', KEYS[2], string.sub(member, #prefix + 1))
      local _, at = unframe(record, 1)
      local node = unframe(record, at)
      if tonumber(redis.call('ZSCORE', KEYS[1], node) or 0) > now then state = 2 break end
      state = 1
    end
    if state == 2 or #page < 16 then break end
    from = '(' .. page[#page]
  end
  if state == 0 and tonumber(redis.call('ZSCORE', KEYS[4], client) or 0) > now then state = 1 end
  out[i] = state
end
return table.concat(out)
