-- Where a list goes on, as opaque text: the sort keys of the last row, as a JSON list in base64url (RFC 4648, section 5, no padding).
--
-- encode() runs once a page of every list. gsub with a table does the work in C; the table remembers groups it has seen,
-- up to a bound.
local json = require "shama.json"
local refusal = require "shama.refusal"

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local LENGTH_MAX = 500    -- bytes of a cursor
local VALUES_MAX = 8      -- sort keys in it
local GROUPS_MAX = 20000  -- remembered groups of three bytes

local byte, char, sub, floor = string.byte, string.char, string.sub, math.floor

local digit_of, value_of = {}, {}
for i = 1, #ALPHABET do
  digit_of[i - 1] = sub(ALPHABET, i, i)
  value_of[byte(ALPHABET, i)] = i - 1
end

local function encode_group(group)
  local a, b, c = byte(group, 1, 3)
  local n = a * 65536 + (b or 0) * 256 + (c or 0)
  local text = digit_of[floor(n / 262144)] .. digit_of[floor(n / 4096) % 64]
  if b then text = text .. digit_of[floor(n / 64) % 64] end
  if c then text = text .. digit_of[n % 64] end
  return text
end

local count = 0
local groups
local function remember(self, group)
  local text = encode_group(group)
  count = count + 1
  if count > GROUPS_MAX then
    count = 0
    for key in pairs(self) do self[key] = nil end
  end
  self[group] = text
  return text
end
groups = setmetatable({}, { __index = remember })

local function decode_text(text)
  local out = {}
  for i = 1, #text, 4 do
    local a, b, c, d = byte(text, i, i + 3)
    a, b = value_of[a], value_of[b or 0]
    local x, y = c and value_of[c], d and value_of[d]
    if not a or not b or (c and not x) or (d and not y) then return nil end
    local n = a * 262144 + b * 4096 + (x or 0) * 64 + (y or 0)
    out[#out + 1] = char(floor(n / 65536))
    if c then out[#out + 1] = char(floor(n / 256) % 256) end
    if d then out[#out + 1] = char(n % 256) end
  end
  return table.concat(out)
end

local cursor = {}

-- cursor.encode { created_at, id } -> text
function cursor.encode(values)
  return (json.encode(values):gsub("..?.?", groups))
end

-- The list that encode() was given, or nil and the refusal BAD_CURSOR. `size`: how many values it must hold, each a text or a number.
function cursor.decode(text, size)
  local values
  if type(text) == "string" and #text <= LENGTH_MAX and text:find("^[%w_-]+$") then
    local plain = decode_text(text)
    values = plain and json.decode(plain)
  end
  local ok = type(values) == "table" and #values > 0 and #values <= VALUES_MAX and (not size or #values == size)
  for i = 1, ok and #values or 0 do
    local kind = type(values[i])
    ok = ok and (kind == "string" or kind == "number")
  end
  if not ok then return nil, refusal.new("BAD_CURSOR") end
  return values
end

return cursor
