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

---Marks a table as list, also an empty one; or makes an empty one with room for so many items, since a list that grows is dear.
---@generic T: table
---@param list? T|integer
---@return T
function json.array(list) end

---The table, written as an object with exactly these members in this order, null where there is nothing. An entry { name, shape } of the shape
---stands for a member that is a list of tables. Makes no copy: what is written is the table as it is by then.
---@param value table
---@param shape (string|table)[]
---@return table
function json.shaped(value, shape) end

---The value, written as { "dropped_bytes": n } when its text would be longer than `bytes`.
---@param value any
---@param bytes integer
---@return table
function json.at_most(value, bytes) end

return json
