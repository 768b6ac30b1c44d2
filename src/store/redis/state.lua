-- The beginning of both scripts: reads the state, which both need.
--
-- KEYS[1]  the definitions        KEYS[2]  the state
--
-- A key of another type counts as absent: the next commit replaces it. A field of more than 2 KiB is not read,
-- because that would block the server's other clients. Then only the revision is read, if it is shorter.

local names = { 'revision', 'fence', 'owner', 'expires_at', 'granted_at', 'version', 'etag', 'bytes', 'published_at',
  'confirmed_at', 'retry_at', 'invalidated_at', 'failures', 'refused_at', 'outdated_at',
  'answered' }

-- The state's fields in the order above.
local function read_state()
  if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then
    return {}
  end
  local is_short = true
  for _, name in ipairs(names) do
    is_short = is_short and redis.call('HSTRLEN', KEYS[2], name) <= 2048
  end
  if is_short then
    -- Without unpack(): later versions of Lua have another name for it, and some proxies reject scripts that use it.
    return redis.call('HMGET', KEYS[2], names[1], names[2], names[3], names[4], names[5], names[6], names[7], names[8],
      names[9], names[10], names[11], names[12], names[13], names[14], names[15], names[16])
  elseif redis.call('HSTRLEN', KEYS[2], 'revision') <= 2048 then
    return { redis.call('HGET', KEYS[2], 'revision') }
  end
  return {}
end

local function definitions_length()
  return redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('STRLEN', KEYS[1]) or 0
end

local function reading(state, length, definitions)
  local time = redis.call('TIME')
  return { time[1], time[2], length, definitions, state }
end
