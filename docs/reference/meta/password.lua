---@meta shama.password
-- argon2id, off the loop.

local password = {}

---@param text string
---@return string
function password.hash(text) end

---A hash of nil costs the same time and is false.
---@param text string
---@param hash string?
---@return boolean
function password.verify(text, hash) end

return password
