-- Note what is known of the stored value of one target: what checkCode said of it, or what its TTL must be.
-- KEYS: 1 value, 2 lease, 3 refused
-- ARGV: 1 seen | alive | ends | refused | denied | silent, 2 fingerprint of the credential, 3 the value as it was read
--   ('=...', as `held` says), 4 the mark as it was read, 5 1 if no lock stood when it was read, 6 when it was read,
--   before the question (unix ms), 7 when the credential ends (unix ms; `alive`, `seen`, `silent`: as recorded),
--   8 the value with that expiry (ends), 9 1 if another's refresh is to be entered, 10 caller, 11 error code ('': not
--   asked), 12 grace in ms, 13 margin in ms, 14 shortest time between two denials in ms, 15 TTL of the lease hash in ms
-- Returns: {'noted' | 'removed' | 'other', now, TTL of the value in ms, mark}: 'other' when another value is stored by
--   now, or none, and nothing is changed.
-- Idempotent: the same word about the same value changes nothing more. A complaint about this very credential is taken
--   away by a word about the credential, and where the value is removed; another stays.
-- Races prevented: a word about one value changing the life of another; a credential settled while an attempt may have
--   ended it, during the question or before; a process that stands still between answer and note making the answer
--   look younger than it is.
-- A clock set back since the question must not make it look younger than now.
local word, q, recorded, grace = ARGV[1], math.min(tonumber(ARGV[6]), now), tonumber(ARGV[7]), tonumber(ARGV[12])
if held() ~= ARGV[3] or ARGV[3] == '-' then return {'other', now, redis.call('PTTL', KEYS[1]), mark} end
begin()
local denied = field('denied') or ''
local as_read, complaint = ARGV[5] == '1' and mark == ARGV[4], redis.pcall('GET', KEYS[3])
local till, removed = ends(), false
if word == 'seen' then
  till = math.min(till, recorded, mark ~= '' and now + grace or math.huge)
elseif word == 'alive' and as_read then
  till, mark = recorded, ''
elseif word == 'alive' and mark ~= '' then
  till = math.min(math.max(till, math.min(recorded, q + grace)), now + grace, recorded)
elseif word == 'ends' then
  till = math.min(till, recorded)
  redis.call('SET', KEYS[1], ARGV[8], 'PX', math.max(till - now, 1))
elseif word == 'denied' then
  local code, at = string.match(denied, '^(%x+) (%d+)$')
  removed = code == ARGV[2] and q - at >= tonumber(ARGV[14])
  -- The first counts from now, the second from its question: a copy that stands still in between gains nothing.
  if code ~= ARGV[2] or now < tonumber(at) then denied = string.format('%s %.0f', ARGV[2], now) end
elseif word == 'silent' and mark ~= '' and complaint ~= ARGV[2] then
  till = math.max(till, math.min(recorded, q + grace, (since or now) + ARGV[13]))
end
removed = removed or word == 'refused' or till <= now
local definite = word == 'alive' or word == 'ends' or word == 'refused'
redis.call('HSET', KEYS[2], 'mark', mark, 'mark_since', since or now, 'denied', definite and '' or denied)
if mark == '' then redis.call('HSET', KEYS[2], 'value', digest(word == 'ends' and '=' .. ARGV[8] or ARGV[3])) end
if definite then redis.call('HSET', KEYS[2], 'audited_at', q) end
if ARGV[9] == '1' and as_read and field('superseded_code') ~= ARGV[2] then
  -- When the newer credential was issued; the last five instants of 13 digits each, with a blank between.
  local at = word == 'ends' and math.min(recorded - grace, now) or now
  local history = string.sub((field('superseded') or '') .. ' ' .. string.format('%.0f', at), -70)
  redis.call('HSET', KEYS[2], 'superseded', history, 'superseded_code', ARGV[2])
end
if ARGV[11] ~= '' then
  local wait, failures, _, code = caller(ARGV[10])
  -- Who denies has asked when the denial is entered: only others have not asked since.
  remember(ARGV[10], wait, failures, word == 'denied' and now or q, code ~= '' and code or ARGV[11])
end
if removed then redis.call('DEL', KEYS[1]) elseif till < math.huge then redis.call('PEXPIREAT', KEYS[1], till) end
if (removed or definite) and (complaint == ARGV[2] or type(complaint) == 'table') then redis.call('DEL', KEYS[3]) end
redis.call('PEXPIRE', KEYS[2], ARGV[15])
return {removed and 'removed' or 'noted', now, redis.call('PTTL', KEYS[1]), mark}
