---@meta shama.cursor
-- Where a list goes on, as opaque text. Pure.

local cursor = {}

---@param values (string|number)[] sort keys of the last row
---@return string
function cursor.encode(values) end

---@param text string
---@param size? integer how many values it must hold
---@return (string|number)[]? values
---@return shama.Refusal? refused BAD_CURSOR
function cursor.decode(text, size) end

return cursor
