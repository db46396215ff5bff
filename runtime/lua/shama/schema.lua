-- What a body or a query may hold, as plain data: { type =, min =, max =, ... }. The host compiles it at load and checks requests in C.
local schema = {}

local COMMON = { required = true, nullable = true, default = true, description = true, example = true }
local OPTIONS = {
  string = { "min", "max", "enum" }, integer = { "min", "max" }, boolean = {}, money = { "min", "max" }, decimal = { "scale", "min", "max" },
  uuid = {}, date = {}, timestamp = {}, email = {}, array = { "of", "min", "max" }, any = {},
}
local SHAPES = { string = "string", number = "number", boolean = "boolean" }

local function check_options(kind, options, allowed)
  for key in pairs(options) do
    if not allowed[key] then error("s." .. kind .. ": unknown option \"" .. tostring(key) .. "\"", 3) end
  end
end

local function check_limits(kind, options)
  local exact = kind == "money" or kind == "decimal"
  for _, key in ipairs { "min", "max" } do
    local value = options[key]
    if value ~= nil and exact and (type(value) ~= "string" or not value:find("^%-?%d+%.?%d*$")) then
      error("s." .. kind .. ": " .. key .. " is written as text, like \"0.01\"", 3)
    end
    if value ~= nil and not exact and (type(value) ~= SHAPES.number or value % 1 ~= 0) then
      error("s." .. kind .. ": " .. key .. " is a whole number", 3)
    end
  end
end

for kind, names in pairs(OPTIONS) do
  local allowed = {}
  for key in pairs(COMMON) do allowed[key] = true end
  for _, name in ipairs(names) do allowed[name] = true end
  schema[kind] = function(options)
    options = options or {}
    check_options(kind, options, allowed)
    check_limits(kind, options)
    if kind == "array" and not options.of then error("s.array: say what it is of: s.array { of = s.uuid() }", 2) end
    local made = { type = kind }
    for key, value in pairs(options) do made[key] = value end
    return made
  end
end

local function is_schema(value) -- one of another module comes as a frozen value
  local kind = type(value)
  return (kind == "table" or kind == "userdata") and type(value.type) == "string"
end

-- s.object { name = s.string {}, ... }; options of the object itself come second: s.object({ ... }, { required = true }).
function schema.object(fields, options)
  options = options or {}
  check_options("object", options, COMMON)
  for name, field in pairs(fields) do
    if type(name) ~= "string" then error("s.object: a field without a name", 2) end
    if not is_schema(field) then error("s.object: the field \"" .. name .. "\" is no schema", 2) end
  end
  local made = { type = "object", fields = fields }
  for key, value in pairs(options) do made[key] = value end
  return made
end

-- The filters of a list, with `limit` and `cursor` beside them.
function schema.page(filters)
  local fields = {
    limit = schema.integer { min = 1, max = 200, default = 50, description = "How many rows at most" },
    cursor = schema.string { min = 1, max = 500, description = "next_cursor of the page before" },
  }
  for name, field in pairs(filters or {}) do fields[name] = field end
  return schema.object(fields)
end

return schema
