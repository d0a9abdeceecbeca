-- Put in front of the scripts that read or write what meta holds of the log.

-- server names the history of this server, in 40 digits. It changes when a replica is
-- promoted and when the server starts again, with or without its data.
local function server()
  local info = redis.call('INFO', 'replication')
  local _, at = string.find(info, 'master_replid:', 1, true)
  return at and string.sub(info, at + 1, at + 40) or ''
end

-- size and trim are the formats of what meta holds of the size of the log.
--   total     what all entries weigh that were ever published
--   at        when the last one was
--   room      what total may reach,
--   due       and how late it may be, before there is something to mark, trim or renew
local size = '>i8i8i8i8'
--   trimmed   what those weigh that are trimmed
--   marked    total as the newest mark says it
--   markedat  the time that it says
--   oldest    the time of the oldest mark
--   swept     when old records of producers were last removed
--   forgot    the time of the newest record that was
local trim = '>i8i8i8i8i8i8'
