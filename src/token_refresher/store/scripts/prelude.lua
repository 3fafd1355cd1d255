-- Comes before every script that writes: Redis's clock, numbers out of text, and the memory of callers.
-- KEYS: 1 value, 2 lease
-- Returns: nothing; the script that follows uses its functions.
-- Race prevented: `load` and the scripts that write reading the same keys differently: what one of them takes for no
--   lease and the other for one could never be compared.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function digits(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end
-- What the value key holds, as one text: '-' nothing, '?' nothing that a record can be, else '=' and the value.
local function held()
  local value = redis.pcall('GET', KEYS[1])
  if not value then return '-' end
  -- What may not be read is not missing: the same call again, to fail with Redis's own words.
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then redis.call('GET', KEYS[1]) end
  return type(value) == 'string' and #value <= 65536 and '=' .. value or '?'
end
-- When the value key ends (unix ms); without a TTL never.
local function ends()
  local ttl = redis.call('PTTL', KEYS[1])
  return ttl < 0 and math.huge or now + ttl
end
-- A hash that holds more than any refresher writes is read as none, as `load` reads it.
local known = redis.call('TYPE', KEYS[2]).ok == 'hash' and #table.concat(redis.call('HGETALL', KEYS[2]), '\n') <= 65536
local function field(name) return known and redis.call('HGET', KEYS[2], name) or nil end
-- What a lease keeps of the value that it settled.
local function digest(value) return string.sub(redis.sha1hex(value), 1, 16) end
-- A target without a mark is marked 'none': nothing is known of how its value came about. So is a settled one that holds
-- another value than its lease settled: another tool wrote it, or Redis lost a write.
local mark, since = field('mark'), digits(field('mark_since'))
if not mark or #mark > 64 or string.find(mark, '[^%w_-]') then mark = 'none' end
if mark == '' and #held() > 1 and field('value') ~= digest(held()) then mark, since = 'none', nil end
-- `callers` is a list of words caller:until:failures:asked:code, the latest last, eight at most.
local function caller(me)
  for word in string.gmatch(field('callers') or '', '%S+') do
    local name, till, failures, asked, code = string.match(word, '^([^:]+):(%d+):(%d+):(%d+):([%w_]*)$')
    if name == me then return digits(till) or 0, digits(failures) or 0, digits(asked) or 0, code end
  end
  return 0, 0, 0, ''
end
-- Without `till` the caller is forgotten.
local function remember(me, till, failures, asked, code)
  local words = {}
  for word in string.gmatch(field('callers') or '', '%S+') do
    if string.sub(word, 1, #me + 1) ~= me .. ':' then words[#words + 1] = word end
  end
  if till then words[#words + 1] = string.format('%s:%.0f:%.0f:%.0f:%s', me, till, failures, asked, code) end
  while #words > 8 do table.remove(words, 1) end
  redis.call('HSET', KEYS[2], 'callers', table.concat(words, ' '))
end
-- The first write frees memory: a server over its maxmemory then lets the script go on. It also deletes a lease that
-- is read as none, but is there.
local function begin()
  if known then redis.call('HDEL', KEYS[2], '-') else redis.call('DEL', KEYS[2]) end
end
