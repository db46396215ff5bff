---@meta shama.uuid

local uuid = {}

---Grows with time: for keys.
---@return string
function uuid.v7() end

---@return string
function uuid.v4() end

return uuid
