-- Read everything about one target, at one instant of Redis's own clock. Writes nothing.
-- KEYS: 1 value, 2 lease, 3 refused
-- Returns: {seconds, microseconds, value, lease fields, complaint}; false where there is none, and the number 0
--   where a key holds another type than it should: that is for the caller to report and replace, never fatal.
-- Race prevented: reading value and lease one after the other could pair an old value with a newer lease.
local function readable(reply)
  if type(reply) == 'table' and reply.err then return 0 end
  return reply
end
local time = redis.call('TIME')
local value = readable(redis.pcall('GET', KEYS[1]))
local lease = readable(redis.pcall('HGETALL', KEYS[2]))
local complaint = readable(redis.pcall('GET', KEYS[3]))
return {time[1], time[2], value, lease, complaint}
