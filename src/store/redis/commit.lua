-- Replaces the state, if its revision is still the expected one.
--
-- KEYS[1]  the definitions        KEYS[2]  the state        KEYS[3]  the patch from the version before
-- ARGV[1]  expected revision; 0: no state, or one without a readable revision
-- ARGV[2]  expiry of all keys in milliseconds
-- ARGV[3]  channel on which a new version is announced
-- ARGV[4]  'keep' the stored definitions, 'set' them to ARGV[5], or 'drop' them
-- ARGV[6]  with 'set': the patch, or nothing
-- ARGV[7…] the new state: field, value, field, value, …; with definitions the version comes first
--
-- Reply: 1 done, 0 somebody else was faster
--
-- A script, so that comparing and writing are one step, and so that definitions and state never
-- disagree: whatever fails, all are the old ones or all the new ones.

local revision = false
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  revision = redis.call('HGET', KEYS[2], 'revision')
end
revision = revision and string.match(revision, '^0*(%d+)$')
if not revision or #revision > 16 then
  revision = '0'
end
if revision ~= ARGV[1] then
  return 0
end

-- First what can be refused for lack of memory.
if ARGV[4] == 'set' then
  redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[2])
elseif ARGV[4] == 'keep' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
if ARGV[4] == 'set' and ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[2])
elseif ARGV[4] ~= 'keep' then
  redis.call('DEL', KEYS[3])
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ARGV, 7))
redis.call('PEXPIRE', KEYS[2], ARGV[2])

if ARGV[4] == 'set' then
  redis.call('PUBLISH', ARGV[3], ARGV[8])
end
return 1
