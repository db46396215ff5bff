-- What a spec needs beside busted: time, logins, a database, the application, and the plain tables behind frozen ones. There is no such module
-- while serving.
local _, host = ...
if not host then error("shama.test is there for specs only: run them with `shama test`", 0) end
local app = require "shama.test.app"

local function plain(value, seen)
  value = host.melt(value)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  for key, member in next, value do copy[plain(key, seen)] = plain(member, seen) end
  return copy
end

return {
  -- test.sleep(ms): other work of the loop goes on.
  sleep = host.sleep,
  -- test.use("sales"): from here on shama.db logs in as this service.
  use = host.use,
  -- test.freeze("2026-01-31T12:00:00Z"): shama.clock stands still; test.freeze() lets it run again.
  freeze = host.freeze,
  -- test.database(): from here on the spec file has a database of its own, migrated and empty, until its end.
  database = app.database,
  -- test.sql(text, ...): a statement there, as the owner of all tables; rows with every value as text.
  sql = app.sql,
  -- test.app(): all services behind their edge, on that database, without a socket.
  app = app.open,
  -- test.plain(value): a deep copy without frozen tables.
  plain = function(value) return plain(value, {}) end,
}
