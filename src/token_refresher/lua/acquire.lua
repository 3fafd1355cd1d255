-- Begin an attempt on one target: take its lease, and leave the mark that a fetch may be out.
-- KEYS: 1 value, 2 lease
-- ARGV: 1 attempt id, 2 work in ms, 3 flight in ms, 4 TTL of the lease hash in ms, 5 highest fence seen in the value
-- Returns: {'held', now, value, lease fields} | {'locked', now} while another attempt is locked
--   | {'over', now} when this attempt has been finished already (a late duplicate). `value` as in load.lua.
-- Idempotent: the attempt that holds the lease gets the same lease again.
-- Races prevented: two attempts at once; a fetch that Redis would not know of (this write comes before it); a lock
--   that a clock set back would make eternal (further ahead than a fresh one counts as over).
local function digits(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local work_until = now + tonumber(ARGV[2])
local locked_until = work_until + tonumber(ARGV[3])
local old = {}
-- A fence that no clock can have made is garbage.
local function fence(text)
  local n = digits(text) or 0
  return n < now + 1e12 and n or 0
end
local is_hash = redis.call('TYPE', KEYS[2]).ok == 'hash'
if is_hash then
  old = redis.call('HMGET', KEYS[2], 'attempt', 'locked_until', 'finished', 'fence', 'unsettled_since')
end
local locked = (digits(old[2]) or 0) > now and digits(old[2]) <= locked_until
if locked and old[1] ~= ARGV[1] then return {'locked', now} end
if old[3] == ARGV[1] then return {'over', now} end
if not locked then
  -- A hash that holds more than any of ours is made anew.
  local kept = is_hash and #table.concat(redis.call('HGETALL', KEYS[2])) <= 65536
  -- The first write frees memory: a server over its maxmemory then lets the script go on.
  if kept then redis.call('HDEL', KEYS[2], 'disputed') else redis.call('DEL', KEYS[2]) end
  -- What cannot be read is not settled.
  local before = digits(old[5]) or now
  redis.call('HSET', KEYS[2], 'attempt', ARGV[1], 'work_until', work_until, 'locked_until', locked_until,
    'fence', math.max(fence(old[4]) + 1, fence(ARGV[5]) + 1, now),
    'before', before, 'unsettled_since', before > 0 and before or now)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then
  if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
  value = 0
elseif value and #value > 65536 then
  value = 0
end
return {'held', now, value, redis.call('HGETALL', KEYS[2])}
