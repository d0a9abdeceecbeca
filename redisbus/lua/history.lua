-- Put in front of the scripts that may have to begin a history.

-- jump is how far ids go ahead when the server is not the one that wrote last: more
-- than the clocks of servers are apart, so that no entry is numbered below one that
-- somebody has seen.
local jump = 60 * 1000000

-- limit is what no id may reach: above it Lua would round.
local limit = 9007199254740992 - 6 * jump

-- apart keeps two servers apart that both take themselves for the primary: each goes on from the
-- same end, and no number should be given by both. It is up to some four minutes.
local function apart(server) return tonumber(string.sub(server, 1, 7), 16) or 0 end

-- top returns the highest id that the log has ever had.
local function top(log)
  if redis.call('EXISTS', log) == 0 then return 0 end
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
  end
end

-- begin writes the record of a namespace that has none: a new epoch at the end of
-- what there may be in the log.
local function begin(meta, log, marks, epoch, now, ttl)
  local last = top(log)
  if last >= limit then -- not by us, and nothing could ever follow it
    redis.call('UNLINK', log)
    last = 0
  end
  last = number(math.max(now, last) + jump)
  redis.call('UNLINK', marks)
  redis.call('HSET', meta, 'epoch', epoch, 'since', number(now), 'began', last, 'last', last, 'server', server(),
    'size', struct.pack(size, 0, 0, 0, 0), 'trim', struct.pack(trim, 0, 0, 0, 0, now, 0), 'until', number(now + ttl * 1000))
  redis.call('PEXPIRE', meta, ttl)
end
