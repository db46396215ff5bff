---@meta shama.jwt

local jwt = {}

---@param claims table
---@param ttl_s integer
---@return string
function jwt.sign(claims, ttl_s) end

---@param token string
---@return table? claims
---@return "expired"|"invalid"|nil reason
function jwt.verify(token) end

---@return integer seconds
function jwt.access_ttl() end

---@return integer seconds
function jwt.refresh_ttl() end

return jwt
