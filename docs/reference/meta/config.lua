---@meta shama.config
-- Settings that an operator lets rules read.

local config = {}

---@param key "brand.primary"|"brand.secondary"|"brand.name"|"brand.address"|"env"|"rules.version"
---@return string
function config.get(key) end

return config
