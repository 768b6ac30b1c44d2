-- Reads the state and the store's time, and on request the snapshot that belongs to it. Follows state.lua.
--
-- KEYS[1]  the definitions        KEYS[2]  the state
-- ARGV[1]  'state': no definitions; 'load': with them
-- ARGV[2]  with 'load': the version that the caller holds; it needs no definitions of it, and can apply a patch to it
-- ARGV[3]  maximum length of the definitions
--
-- Reply: the time in seconds and microseconds, the length of the definitions, the definitions or a patch or false, and the state
--
-- A script, so that state, time and definitions are of one moment, in one round trip. Definitions above the maximum
-- length are not read, because that would block the server's other clients.

local state, length, definitions = read_state(), definitions_length(), false
local is_sound = length <= tonumber(ARGV[3]) and length == tonumber(state[8] or '')
if ARGV[1] == 'load' and is_sound and state[6] and state[6] ~= ARGV[2] then
  -- A patch has at most a quarter of the definitions' length.
  local is_short = ARGV[2] ~= '' and redis.call('HSTRLEN', KEYS[2], 'patch') * 4 <= length
  local patch = is_short and redis.call('HGET', KEYS[2], 'patch')
  -- A patch begins with 'PATCH2:' and the version to which it applies.
  if patch and string.sub(patch, 8, 71) == ARGV[2] then
    definitions = patch
  else
    definitions = redis.call('GET', KEYS[1])
  end
end
return reading(state, length, definitions)
