-- Returns what a follower has to know once a second.
--
-- KEYS  1 meta
-- ARGV  1 field of a producer, may be missing
--
-- Returns {epoch, began, last, until, now, since, what the field holds, trim}; all but now are nil
-- without a record.

local m = redis.call('HMGET', KEYS[1], 'epoch', 'began', 'last', 'until', 'since', ARGV[1] or '', 'trim')
return {m[1], m[2], m[3], m[4], number(clock()), m[5], m[6], m[7]}
