-- The life of a thing as a table of edges: an edge that is not there does not exist.
--
--   local life = machine "quotation" {
--     initial = "DRAFT",
--     final   = "CANCELLED",                              -- states that nothing leaves: a text or a list
--     submit  = { from = "DRAFT", to = "PENDING" },
--     cancel  = { from = { "DRAFT", "PENDING" }, to = "CANCELLED", otherwise = "QUOTATION_CLOSED" },
--   }
--   life:next("DRAFT", "submit") -> "PENDING"        life:next("SOLD", "submit") -> nil, refusal
local refusal = require "shama.refusal"

local KEYS = { from = true, to = true, otherwise = true }

local Machine = {}
local METATABLE = { __index = Machine, __metatable = false } -- shared by all machines: nobody may reach it

-- The state after `action`, or nil and a refusal: the edge's `otherwise`, else INVALID_TRANSITION.
function Machine.next(self, state, action)
  local edge = self.edges[action]
  if not edge then error(self.name .. " has no action \"" .. tostring(action) .. "\"", 2) end
  if edge.from[state] then return edge.to end
  return nil, refusal.new(edge.otherwise or "INVALID_TRANSITION", { action = action, status = state })
end

function Machine.has(self, action) return self.edges[action] ~= nil end

-- Every { action, from, to }, in order: for specs that walk the whole table.
function Machine.transitions(self) return self.list end

local function read_edge(name, action, edge)
  local where = "machine \"" .. name .. "\", " .. action .. ": "
  if type(edge) ~= "table" then error(where .. "an edge is a table { from =, to = }", 3) end
  for key in pairs(edge) do
    if not KEYS[key] then error(where .. "unknown key \"" .. tostring(key) .. "\"", 3) end
  end
  local from = type(edge.from) == "string" and { edge.from } or edge.from
  if type(from) ~= "table" or type(edge.to) ~= "string" then error(where .. "needs `from` (a state or a list) and `to` (a state)", 3) end
  local set = {}
  for _, state in ipairs(from) do set[state] = true end
  return { from = set, to = edge.to, otherwise = edge.otherwise }, from
end

local function read_final(name, final)
  local set = {}
  if type(final) == "string" then final = { final } end
  if final ~= nil and type(final) ~= "table" then error("machine \"" .. name .. "\", final: a state or a list of states", 3) end
  for _, state in ipairs(final or {}) do set[state] = true end
  return set
end

local NOT_ACTIONS = { initial = true, final = true }

return function(name)
  return function(definition)
    local self = { name = name, initial = definition.initial, final = read_final(name, definition.final), edges = {}, list = {} }
    setmetatable(self, METATABLE)
    local actions = {}
    for action in pairs(definition) do
      if not NOT_ACTIONS[action] then actions[#actions + 1] = action end
    end
    table.sort(actions)
    for _, action in ipairs(actions) do
      local edge, from = read_edge(name, action, definition[action])
      self.edges[action] = edge
      for _, state in ipairs(from) do self.list[#self.list + 1] = { action = action, from = state, to = edge.to } end
    end
    return self
  end
end
