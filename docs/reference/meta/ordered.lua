---@meta shama.ordered
-- Tables in the order of their keys. Pure.

local ordered = {}

---`for key, value in ordered.pairs(t) do`
---@generic K, V
---@param t table<K, V>
---@return fun(): K?, V?
function ordered.pairs(t) end

---@generic K
---@param t table<K, any>
---@return K[]
function ordered.keys(t) end

return ordered
