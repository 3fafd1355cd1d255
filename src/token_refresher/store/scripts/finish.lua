-- End an attempt on one target: store what it brought and free the lease, all at once.
-- KEYS: 1 value, 2 lease
-- ARGV: 1 attempt id, 2 caller, 3 issued | refused | unknown, 4 value to store, 5 its expiry (unix ms), 6 when the
--   request was sent (unix ms; issued only), 7 the life that was issued (s), 8 the caller's own wait in ms (-1: none),
--   9 error code or '', 10 how it ended, for people, 11 the value as acquire found it (as `held` says), 12 its recorded
--   expiry (unix ms), 13 grace in ms, 14 TTL of the lease hash in ms
-- Returns: 'done' | 'lost' (the lease is no longer this attempt's: nothing was stored; a target for which something may
--   have been issued is marked) | 'orphan' (lease and value are both gone: stored for the grace, and marked).
-- Idempotent: an attempt that was finished answers 'done' again and changes nothing.
-- Races prevented: a late process storing an older credential over a newer one; a reader seeing the value of one
--   attempt with the lease of another; a definite no that restores the TTL of a credential which an earlier attempt, or
--   a late one, may have ended; an unlocked target while its request may still be executed.
local issued, expires, sent, grace = ARGV[3] == 'issued', tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[13])
if field('finished') == ARGV[1] then return 'done' end
local value, before, own_mark = held(), field('before') or 'none', mark == ARGV[1]
local lives = not issued or expires > now
local mine = field('attempt') == ARGV[1] and (digits(field('locked_until')) or 0) > now and lives
local orphan = issued and lives and not known and value == '-'
if not mine and ARGV[3] == 'refused' then return 'lost' end
begin()
local ahead, failures, asked = caller(ARGV[2])
if mine and ARGV[3] == 'unknown' then
  remember(ARGV[2], ahead, failures, asked, ARGV[9])
elseif mine then
  -- A caller that has nothing to wait for is forgotten; only when it asked in vain, about the same credential, is kept.
  local wait = tonumber(ARGV[8])
  local till = wait >= 0 and now + wait or not issued and asked > 0 and 0
  remember(ARGV[2], till, (issued or wait < 0) and 0 or failures, asked, ARGV[9])
  redis.call('HSET', KEYS[2], 'locked_until', 0, 'work_until', 0, 'finished', ARGV[1])
end
if (mine or orphan) and issued then
  redis.call('HSET', KEYS[2], 'issued_by', ARGV[2], 'audited_at', math.min(now, sent), 'life', ARGV[7])
  local till = mine and own_mark and expires or math.min(expires, sent + grace)
  redis.call('SET', KEYS[1], ARGV[4], 'PX', math.max(till - now, 1))
end
if mine and issued and own_mark then
  redis.call('HSET', KEYS[2], 'mark', '', 'value', digest('=' .. ARGV[4]))
elseif mine and ARGV[3] == 'refused' and own_mark and value == ARGV[11] then
  redis.call('HSET', KEYS[2], 'mark', before)
  -- A value that is no record has no recorded end, and keeps its cut TTL.
  if before == '' and ARGV[12] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[12]) end
elseif not mine then
  -- A mark that was never read before: a copy that read this attempt's first mark must not take it for unchanged.
  local late = string.format('%s-%.0f', ARGV[1], now)
  redis.call('HSET', KEYS[2], 'mark', late, 'mark_since', mark ~= '' and since or now)
  if orphan then redis.call('HSET', KEYS[2], 'finished', ARGV[1]) end
end
if mine or orphan then redis.call('HSET', KEYS[2], 'outcome', ARGV[10], 'outcome_at', now) end
redis.call('PEXPIRE', KEYS[2], ARGV[14])
return mine and 'done' or orphan and 'orphan' or 'lost'
