-- Read everything about one target, at one instant of Redis's own clock. Writes nothing.
-- KEYS: 1 value, 2 lease, 3 refused
-- Returns: {now (unix ms), value, TTL of the value in ms, lease fields, complaint}; false where there is none,
--   and the number 0 where a key holds another type than it should, or more than any of ours: that is for the caller to
--   report and replace, never fatal, and never sent: one swollen key would stop the pipeline of all.
--   Lease fields are one text of lines, which is quicker to read than a list; a list where one holds a line break.
-- Race prevented: reading value and lease one after the other could pair an old value with a newer lease.
local function unusable(reply)
  if type(reply) == 'string' then return #reply > 65536 end
  return type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true)
end
local time = redis.call('TIME')
local value = redis.pcall('GET', KEYS[1])
local lease = redis.pcall('HGETALL', KEYS[2])
if type(lease) == 'table' then
  local text = table.concat(lease, '\n')
  local _, breaks = string.gsub(text, '\n', '')
  if breaks == #lease - 1 or unusable(text) then lease = text end
end
local complaint = redis.pcall('GET', KEYS[3])
if unusable(value) then value = 0 end
if unusable(lease) then lease = 0 end
if unusable(complaint) then complaint = 0 end
-- Any other error is one: what may not be read is not missing.
if type(value) == 'table' then return value end
if type(lease) == 'table' and lease.err then return lease end
if type(complaint) == 'table' then return complaint end
return {time[1] * 1000 + math.floor(time[2] / 1000), value, value and redis.call('PTTL', KEYS[1]) or -2, lease, complaint}
