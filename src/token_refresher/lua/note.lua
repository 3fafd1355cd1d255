-- Note what checkCode said about the stored code of one target.
-- KEYS: 1 value, 2 lease, 3 refused
-- ARGV: 1 alive | superseded, 2 fingerprint of the code asked about, 3 TTL of the lease hash in ms,
--   4 the stored value as it was read ('': leave the value alone), 5 the same with the expiry that checkCode named,
--   6 that expiry (unix ms; 0: refused already), 7 when the target was read, before the question (unix ms)
-- Returns: 'noted'.
-- Idempotent: the same supersession is entered once. A complaint about this very code is taken away, another stays.
-- Races prevented: the value is touched only as long as it is the one that was asked about; a process that stands still
--   between answer and note does not make the answer look younger than it is.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_hash = redis.call('TYPE', KEYS[2]).ok == 'hash'
local complaint = redis.pcall('GET', KEYS[3])
if type(complaint) == 'table' or complaint == ARGV[2] then redis.call('DEL', KEYS[3]) end
-- The first write frees memory: a server over its maxmemory then lets the script go on.
if is_hash then redis.call('HDEL', KEYS[2], 'audited_at') else redis.call('DEL', KEYS[2]) end
if ARGV[1] == 'superseded' then
  local old = is_hash and redis.call('HMGET', KEYS[2], 'unsettled_since', 'superseded', 'superseded_code') or {}
  if (old[1] or '0') == '0' then redis.call('HSET', KEYS[2], 'unsettled_since', now) end
  if old[3] ~= ARGV[2] then
    -- the last five instants of 13 digits each, with a blank between
    local history = string.sub((old[2] or '') .. ' ' .. string.format('%.0f', now), -70)
    redis.call('HSET', KEYS[2], 'superseded', history, 'superseded_code', ARGV[2])
  end
end
if is_hash or ARGV[1] == 'superseded' then
  redis.call('HSET', KEYS[2], 'audited_at', math.min(now, ARGV[7]))
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
if ARGV[4] ~= '' and redis.pcall('GET', KEYS[1]) == ARGV[4] then
  local life = tonumber(ARGV[6]) - now
  if life > 0 then redis.call('SET', KEYS[1], ARGV[5], 'PX', life) else redis.call('DEL', KEYS[1]) end
end
return 'noted'
