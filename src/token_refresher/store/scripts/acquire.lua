-- Begin an attempt on one target: take its lease, mark it, and cut the value's TTL to the grace.
-- KEYS: 1 value, 2 lease
-- ARGV: 1 attempt id, 2 caller, 3 the value as it was read ('-', '?' or '=...', as `held` says), 4 the mark as it was
--   read, 5 work in ms, 6 flight in ms, 7 grace in ms, 8 tick in ms, 9 longest own wait in ms, 10 TTL of the lease
--   hash in ms, 11 highest fence seen in the value
-- Returns: {'held' | 'locked' | 'changed' | 'over', now, value, TTL of the value in ms, lease fields}: 'locked' while
--   another attempt is, 'changed' when value or mark are not as they were read, 'over' when this attempt has been
--   finished already (a late duplicate). Only 'held' writes.
-- Idempotent: the attempt that holds the lease gets the same lease again.
-- Races prevented: two attempts at once; a fetch that Redis would not know of (this write comes before it); a fetch for
--   what another run has renewed or judged meanwhile; a process that dies after its request: the credential that it
--   may have ended leaves Redis before the platform rejects it; a lock that a clock set back would make eternal.
local work_until = now + tonumber(ARGV[5])
local locked_until = work_until + tonumber(ARGV[6])
local function answer(word)
  local value = held()
  value = value ~= '-' and (value == '?' and 0 or string.sub(value, 2))
  return {word, now, value, redis.call('PTTL', KEYS[1]), known and redis.call('HGETALL', KEYS[2]) or {}}
end
-- A fence that no clock can have made is garbage.
local function fence(text)
  local n = digits(text) or 0
  return n < now + 1e12 and n or 0
end
local lock = digits(field('locked_until')) or 0
local locked = lock > now and lock <= locked_until
local old, finished, by = field('attempt'), field('finished'), field('by')
if locked and old ~= ARGV[1] then return answer('locked') end
if finished == ARGV[1] then return answer('over') end
if locked then return answer('held') end
if held() ~= ARGV[3] or mark ~= ARGV[4] then return answer('changed') end
begin()
local last = fence(field('fence'))
local _, failures, asked = caller(ARGV[2])
-- Who last brought a credential loses its precedence with an attempt of its own that did not end.
if old ~= finished and by and by == field('issued_by') then redis.call('HDEL', KEYS[2], 'issued_by') end
-- The caller's own wait is written ahead: a process that dies has it too.
local ahead = math.min(tonumber(ARGV[8]) * 2 ^ math.min(failures, 30), tonumber(ARGV[9]))
remember(ARGV[2], locked_until + ahead, failures + 1, asked, 'no_end')
redis.call('HSET', KEYS[2], 'attempt', ARGV[1], 'by', ARGV[2], 'work_until', work_until, 'locked_until', locked_until,
  'fence', math.max(last + 1, fence(ARGV[11]) + 1, now), 'before', mark, 'mark', ARGV[1],
  'mark_since', mark ~= '' and since or now)
redis.call('PEXPIRE', KEYS[2], ARGV[10])
known = true
if ends() > now + ARGV[7] then redis.call('PEXPIRE', KEYS[1], ARGV[7]) end
return answer('held')
