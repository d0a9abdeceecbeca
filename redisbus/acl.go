package redisbus

// ACL lists the commands that the user of the client needs, as rules for ACL
// SETUSER; add the user's keys, "~sseplane:*" with the default prefix, and no channels.
// Scripts run with the rights of the user who calls them: a command that is missing
// here fails in the middle of one.
const ACL = `-@all
+hello +auth +ping +select +info +time +eval +evalsha +wait
+exists +pexpire +pttl +unlink +rename
+hget +hset +hsetnx +hmget +hdel +hlen +hexists +hgetall +hrandfield
+rpush +lpop +lindex
+zadd +zrem +zscore +zrangebylex +zrangebyscore +zremrangebyscore
+xadd +xtrim +xread +xrange +xrevrange +xinfo
+cluster|slots +cluster|shards +cluster|nodes +readonly +asking +command`
