-- End an attempt on one target: store what it brought and free the lease, all at once.
-- KEYS: 1 value, 2 lease
-- ARGV: 1 attempt id, 2 issued | kept | refused | released | unknown, 3 value to store, 4 its expiry (unix ms),
--   5 wait before the next attempt in ms (0: none), 6 TTL of the lease hash in ms, 7 how it ended, for people,
--   8 when the attempt began (unix ms): what it learned of the stored code is no younger
-- Returns: 'done' | 'lost' (the lease is no longer this attempt's; nothing was written, an issued code's target is
--   marked unsettled) | 'orphan' (lease and value are both gone: stored, and marked unsettled).
-- Idempotent: an attempt that was finished answers 'done' again and changes nothing.
-- Races prevented: a late process storing an older code over a newer one; a reader seeing the value of one attempt
--   with the lease of another; a late process's mark being wiped by the one who works meanwhile (`disputed`).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local outcome, life = ARGV[2], tonumber(ARGV[4]) - now
local function number(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or 0
end
local old = {}
local is_hash = redis.call('TYPE', KEYS[2]).ok == 'hash'
if is_hash then
  old = redis.call('HMGET', KEYS[2], 'attempt', 'locked_until', 'finished', 'before', 'disputed',
    'failures', 'unknown')
end
if old[3] == ARGV[1] or (outcome == 'unknown' and old[7] == ARGV[1]) then return 'done' end
local mine = old[1] == ARGV[1] and number(old[2]) > now and (outcome ~= 'issued' or life > 0)
local orphan = outcome == 'issued' and life > 0 and not is_hash and redis.call('EXISTS', KEYS[1]) == 0
if not mine and outcome ~= 'issued' then return 'lost' end
-- The first write frees memory: a server over its maxmemory then still stores a code that was fetched.
if is_hash then redis.call('HDEL', KEYS[2], 'disputed') else redis.call('DEL', KEYS[2]) end
if mine and outcome == 'unknown' then
  redis.call('HSET', KEYS[2], 'unknown', ARGV[1], 'failures', number(old[6]) + 1, 'outcome', ARGV[7], 'outcome_at', now)
elseif mine then
  local settled = (outcome == 'issued' or outcome == 'kept') and not old[5]
  redis.call('HSET', KEYS[2], 'locked_until', 0, 'work_until', 0, 'finished', ARGV[1],
    'unsettled_since', settled and 0 or old[5] or old[4] or now)
  if outcome == 'refused' then redis.call('HSET', KEYS[2], 'failures', number(old[6]) + 1) end
  if outcome == 'issued' then redis.call('HSET', KEYS[2], 'failures', 0) end
  if outcome == 'issued' or outcome == 'kept' then redis.call('HSET', KEYS[2], 'audited_at', math.min(now, ARGV[8])) end
  if outcome == 'issued' or outcome == 'refused' then
    redis.call('HSET', KEYS[2], 'retry_at', tonumber(ARGV[5]) > 0 and now + ARGV[5] or 0)
  end
  if outcome ~= 'released' then redis.call('HSET', KEYS[2], 'outcome', ARGV[7], 'outcome_at', now) end
else
  redis.call('HSET', KEYS[2], 'disputed', now, 'unsettled_since', now)
  if orphan then redis.call('HSET', KEYS[2], 'finished', ARGV[1]) end
end
if outcome == 'issued' and (mine or orphan) then redis.call('SET', KEYS[1], ARGV[3], 'PX', life) end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return mine and 'done' or orphan and 'orphan' or 'lost'
