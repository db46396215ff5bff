-- Answers beyond plain data: status, headers, bytes, pages. What they make is { __answer = true, status =, body =, headers =, ... }.
local cursor = require "shama.cursor"
local json = require "shama.json"

local http = {}

local concat, sort = table.concat, table.sort

local function answer(status, body, headers) return { __answer = true, status = status, body = body, headers = headers } end

local function escape(s)
  return (tostring(s):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- 201 with where the new thing is; options: { etag = version }, without it body.version.
function http.created(body, location, options)
  local etag = options and options.etag or body.version
  return answer(201, body, { Location = location, ETag = etag and "\"" .. etag .. "\"" or nil })
end

-- 200; options: { etag = version }
function http.ok(body, options)
  local etag = options and options.etag
  return answer(200, body, etag and { ETag = "\"" .. etag .. "\"" } or nil)
end

function http.no_content() return answer(204) end

-- Bytes of any type; with a filename the browser saves them under it.
function http.bytes(content_type, bytes, filename)
  local headers
  if filename then headers = { ["Content-Disposition"] = "inline; filename=\"" .. filename:gsub("[^%w%-._]", "_") .. "\"" } end
  return { __answer = true, status = 200, content_type = content_type, bytes = bytes, headers = headers }
end

-- The same list's next page, as a reference relative to this request: its filters stay, the cursor moves.
local function next_link(query, limit, next_cursor)
  local parts = { "limit=" .. limit }
  for name, value in pairs(query or {}) do
    if name ~= "limit" and name ~= "cursor" then parts[#parts + 1] = name .. "=" .. escape(value) end
  end
  sort(parts)
  return "<?cursor=" .. next_cursor .. "&" .. concat(parts, "&") .. ">; rel=\"next\""
end

-- A page of a list: { data, next_cursor } with a Link. key_fn(row) gives the sort keys of a row as a list; `query` are the request's
-- checked parameters. A full page is followed by another, which may turn out empty: this way the rows go out untouched.
function http.page(rows, limit, key_fn, query)
  local count = #rows
  if count < limit then return answer(200, { data = rows, next_cursor = json.null }) end
  local next_cursor = cursor.encode(key_fn(rows[count]))
  return answer(200, { data = rows, next_cursor = next_cursor }, { Link = next_link(query, limit, next_cursor) })
end

return http
