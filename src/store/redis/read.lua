-- Reads the state and the store's time, and on request the snapshot that belongs to it.
--
-- KEYS[1]  the definitions        KEYS[2]  the state
-- ARGV[1]  'state': no definitions; 'load': with them
-- ARGV[2]  with 'load': a version whose definitions are not wanted, and from which a patch will do
-- ARGV[3]  maximum length of the definitions
--
-- Reply: { seconds, microseconds, length of the definitions, definitions or patch or false,
--          { the state's fields in the order below } }
--
-- A script, so that state, time and definitions are of one moment, in one round trip. A key of
-- another type counts as absent: the next commit replaces it. Nor is anything read that is longer than it may be,
-- because that would take the time of everybody else on this server: of a state with a field of more than 2 KiB only
-- the revision, and of definitions only their length.

local names = { 'revision', 'fence', 'owner', 'expires_at', 'granted_at', 'version', 'etag', 'bytes', 'published_at',
  'confirmed_at', 'retry_at', 'invalidated_at', 'failures', 'refused_at', 'outdated_at' }
local state = {}
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  local is_short = true
  for _, name in ipairs(names) do
    is_short = is_short and redis.call('HSTRLEN', KEYS[2], name) <= 2048
  end
  if is_short then
    state = redis.call('HMGET', KEYS[2], unpack(names))
  elseif redis.call('HSTRLEN', KEYS[2], 'revision') <= 2048 then
    state = { redis.call('HGET', KEYS[2], 'revision') }
  end
end

local length, definitions = 0, false
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  length = redis.call('STRLEN', KEYS[1])
  local is_sound = length <= tonumber(ARGV[3]) and length == tonumber(state[8] or '')
  if ARGV[1] == 'load' and is_sound and state[6] and state[6] ~= ARGV[2] then
    -- A patch has a quarter of the definitions' length at most.
    local is_short = ARGV[2] ~= '' and redis.call('HSTRLEN', KEYS[2], 'patch') * 4 <= length
    local patch = is_short and redis.call('HGET', KEYS[2], 'patch')
    -- It begins with 'PATCH1:' and the version from which it leads on.
    if patch and string.sub(patch, 8, 71) == ARGV[2] then
      definitions = patch
    else
      definitions = redis.call('GET', KEYS[1])
    end
  end
end

local time = redis.call('TIME')
return { time[1], time[2], length, definitions, state }
