-- Sends the notice of a commit, and returns whether the server took it. Precedes commit.lua, which runs it last.
--
-- ARGV[3]  the channel        ARGV[6]  the notice
--
-- It must not raise an error: Redis takes back nothing that a failed script has written. And it is a file of its own because
-- some proxies refuse each script that contains PUBLISH: these get commit.lua without it.

local function publish()
  return type(redis.pcall('PUBLISH', ARGV[3], ARGV[6])) == 'number'
end
