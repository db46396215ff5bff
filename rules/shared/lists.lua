-- Where a page of a list begins: the cursor of a request, checked before it meets SQL. Lists run from the newest to the oldest.
local cursor = require "shama.cursor"
local refusal = require "shama.refusal"

local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"
local TIME = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[%.%d]*Z$"

local lists = {}

-- created_at and id of the last row of the page before, or nothing.
function lists.after(req)
  if not req.query.cursor then return nil, nil end
  local values = refusal.check(cursor.decode(req.query.cursor, 2))
  local at, id = values[1], values[2]
  if type(at) ~= "string" or type(id) ~= "string" or #at > 40 or not at:find(TIME) or not id:find(UUID) then refusal.raise("BAD_CURSOR") end
  return at, id
end

function lists.key(row) return { row.created_at, row.id } end

return lists
