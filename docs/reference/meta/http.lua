---@meta shama.http
-- Answers beyond plain data.

---@class shama.Answer

local http = {}

---201, with where the new thing is.
---@param body table
---@param location string
---@param options? { etag?: integer|string } without it body.version
---@return shama.Answer
function http.created(body, location, options) end

---@param body any
---@param options? { etag?: integer|string }
---@return shama.Answer
function http.ok(body, options) end

---204
---@return shama.Answer
function http.no_content() end

---Bytes of any type; with a filename the browser saves them under it.
---@param content_type string
---@param bytes string
---@param filename? string
---@return shama.Answer
function http.bytes(content_type, bytes, filename) end

---A page of a list, with a Link to the next one.
---@param rows shama.Rows
---@param limit integer
---@param key_fn fun(row: shama.Row): (string|number)[] the sort keys
---@param query? table the request's parameters, which the link keeps
---@return shama.Answer
function http.page(rows, limit, key_fn, query) end

return http
