-- Returns what a follower has to know once a second.
--
-- KEYS  1 meta
--
-- Returns {epoch, began, last, until, now}; all but now are nil without a record.

local m = redis.call('HMGET', KEYS[1], 'epoch', 'began', 'last', 'until')
return {m[1], m[2], m[3], m[4], number(clock())}
