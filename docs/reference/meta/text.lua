---@meta shama.text
-- Small helpers for texts that people typed. Pure.

local text = {}

---Without white space at both ends.
---@param s string
---@return string
function text.trim(s) end

---Lower case without accents.
---@param s string
---@return string
function text.fold(s) end

---text.format("at most {limit} %", { limit = 10 })
---@param template string
---@param params? table
---@return string
function text.format(template, params) end

---A text for LIKE in which % and _ stand for themselves.
---@param s string
---@return string
function text.like(s) end

return text
