-- Sends the notice of a commit, and returns whether the server took it. Precedes commit.lua, which runs it last.
--
-- ARGV[3]  the channel        ARGV[6]  the notice
--
-- It must not raise an error, because Redis does not undo what a failed script has written. It is a separate file
-- because some proxies reject every script that contains PUBLISH. They get commit.lua without it.

local function publish()
  return type(redis.pcall('PUBLISH', ARGV[3], ARGV[6])) == 'number'
end
