-- Between rows and tables: which columns, and how emptiness is said (nil inside, JSON null outside).
local json = require "shama.json"

local NULL = json.null

local rows = {}

-- A table of the named members; empty ones are absent.
function rows.pick(from, names)
  local to = {}
  for i = 1, #names do to[names[i]] = from[names[i]] end
  return to
end

-- As it goes out: every member is there, null when it is empty. For answers that a rule still adds to; json.shaped makes no copy.
function rows.shown(from, names)
  local to = {}
  for i = 1, #names do
    local name = names[i]
    local value = from[name]
    if value == nil then value = NULL end
    to[name] = value
  end
  return to
end

-- What a request says: JSON null is nothing.
function rows.present(value)
  if value ~= NULL then return value end
end

return rows
