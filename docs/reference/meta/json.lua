---@meta shama.json
-- JSON. Pure.

local json = {}

---JSON's null, where nil would be nothing.
---@type userdata
json.null = nil

---@param value any
---@return string
function json.encode(value) end

---@param text string
---@return any value
---@return string? problem
function json.decode(text) end

---Marks a table as list, also an empty one.
---@generic T: table
---@param list T
---@return T
function json.array(list) end

return json
