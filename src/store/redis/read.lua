-- Reads the state and the store's time, and on request the snapshot that belongs to it.
--
-- KEYS[1]  the definitions        KEYS[2]  the state        KEYS[3]  the patch from the version before
-- ARGV[1]  'state': no definitions; 'load': with them
-- ARGV[2]  with 'load': a version whose definitions are not wanted, and from which a patch will do
--
-- Reply: { seconds, microseconds, length of the definitions, definitions or patch or false,
--          { the state's fields in the order below } }
--
-- A script, so that state, time and definitions are of one moment, in one round trip. A key of
-- another type counts as absent: the next commit replaces it.

local state = {}
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  state = redis.call('HMGET', KEYS[2], 'revision', 'fence', 'owner', 'expires_at', 'granted_at', 'version',
    'etag', 'bytes', 'published_at', 'confirmed_at', 'retry_at', 'invalidated_at')
end

local length, definitions = 0, false
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  length = redis.call('STRLEN', KEYS[1])
  if ARGV[1] == 'load' and state[6] and state[6] ~= ARGV[2] then
    local key = KEYS[1]
    if ARGV[2] ~= '' and redis.call('TYPE', KEYS[3]).ok == 'string' then
      -- A patch begins with 'PATCH1:' and the version from which it leads on.
      if redis.call('GETRANGE', KEYS[3], 7, 38) == ARGV[2] then
        key = KEYS[3]
      end
    end
    definitions = redis.call('GET', key)
  end
end

local time = redis.call('TIME')
return { time[1], time[2], length, definitions, state }
