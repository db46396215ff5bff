---@meta shama.crypto

local crypto = {}

---@param text string
---@return string hexadecimal
function crypto.sha256(text) end

---@param bytes integer
---@return string base64url
function crypto.token(bytes) end

---In constant time.
---@param a string
---@param b string
---@return boolean
function crypto.equal(a, b) end

---@param bytes string
---@return string
function crypto.base64url(bytes) end

---@param text string
---@return string?
function crypto.unbase64url(text) end

return crypto
