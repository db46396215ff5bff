-- Tables walked in the order of their keys, so that a decision does not depend on how a table happens to be stored.
local melt = rawget(_G, "melt") or function(value) return value end -- what rules see of modules is frozen: walk what is inside

local ordered = {}

local function before(a, b)
  local x, y = type(a), type(b)
  if x ~= y then return x < y end
  if x == "boolean" then return not a and b end
  return a < b
end

-- The keys of a table, sorted: booleans, numbers, then texts.
function ordered.keys(t)
  local keys = {}
  for key in pairs(melt(t)) do
    local kind = type(key)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then error("ordered.keys: a key is a " .. kind, 2) end
    keys[#keys + 1] = key
  end
  table.sort(keys, before)
  return keys
end

-- for key, value in ordered.pairs(t) do
function ordered.pairs(t)
  local keys, i = ordered.keys(t), 0
  return function()
    i = i + 1
    local key = keys[i]
    if key ~= nil then return key, t[key] end
  end
end

return ordered
