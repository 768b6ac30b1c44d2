-- Replaces the state, if its revision is still the expected one, and if the definitions to keep are there. Follows
-- state.lua and publish.lua.
--
-- KEYS[1]  the definitions        KEYS[2]  the state
-- ARGV[1]  expected revision; 0: no state, or one without a readable revision
-- ARGV[2]  expiry of both keys in milliseconds
-- ARGV[3]  channel on which new definitions are announced, and a released lease by an empty message
-- ARGV[4]  'keep' the stored definitions, 'set' them to ARGV[5], or 'drop' them
-- ARGV[6]  notice of the new definitions
-- ARGV[7…] the new state: field, value, field, value, …; with definitions `version` and `bytes` come first
--
-- Reply: the time in seconds and microseconds, and 1 if the notice has still to be sent, otherwise 0; or, where nothing was
-- done, what read.lua replies
--
-- A script, so that comparing and writing are one step, and so that definitions and state never
-- disagree: whatever fails, both are the old ones or both the new ones.

local state, length = read_state(), definitions_length()
local revision = string.match(state[1] or '', '^0*(%d+)$')
if not revision or #revision > 16 then
  revision = '0'
end
local is_kept = ARGV[4] ~= 'keep' or (length == tonumber(ARGV[10]) and state[6] == ARGV[8])
if revision ~= ARGV[1] or not is_kept then
  return reading(state, length, false)
end

-- Fields that the new state does not have. The patch belongs to the definitions, and stays as long as they do.
local stale = { answered = 1, etag = 1, owner = 1, expires_at = 1, version = 1, bytes = 1, published_at = 1,
  granted_at = 1, confirmed_at = 1, retry_at = 1, invalidated_at = 1, failures = 1, refused_at = 1,
  outdated_at = 1 }
if ARGV[4] ~= 'keep' then
  stale.patch = 1
end
for place = 7, #ARGV, 2 do
  stale[ARGV[place]] = nil
end

-- First the command that can fail because memory is full.
if ARGV[4] == 'set' then
  redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[2])
elseif ARGV[4] == 'keep' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[2])
end
-- The state is never deleted in between: a cluster that is moving the slot away does not create a key again.
for place = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1])
end
for field in pairs(stale) do
  redis.call('HDEL', KEYS[2], field)
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])

-- A released lease is announced too, because a waiting worker may now fetch.
local is_news = ARGV[4] == 'set' or stale.owner
local is_unsent = is_news and not publish()
local time = redis.call('TIME')
return { time[1], time[2], is_unsent and 1 or 0 }
