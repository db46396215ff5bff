-- What `shama check` finds by looking at a loaded service: the machines of its modules, and the statements of its store.
--
-- Called with (modules, melt, files): module name -> value, what opens frozen values, and file name -> text. Returns a list of findings
-- as sources.lua does, and a list of { file =, line =, key =, sql = } for the database to look at.
local modules, melt, files = ...

local find = string.find
local DEPTH_MAX = 4

local findings, statements = {}, {}

local function report(code, file, line, message)
  findings[#findings + 1] = { severity = "error", code = code, file = file, line = line, message = message }
end

local function sorted_keys(of)
  local keys = {}
  for key in next, of do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

-- The first line that has the plain text `what`, from line `from` on; else `from`.
local function line_of(file, what, from)
  local line = 0
  for text in string.gmatch((files[file] or "") .. "\n", "([^\n]*)\n") do
    line = line + 1
    if line >= (from or 1) and find(text, what, 1, true) then return line end
  end
  return from or 1
end

local function is_machine(value)
  return type(value) == "table" and rawget(value, "edges") ~= nil and rawget(value, "list") ~= nil and type(value.transitions) == "function"
end

local function check_machine(machine, file)
  local top = line_of(file, "machine \"" .. machine.name .. "\"")
  local function at(state) return line_of(file, "\"" .. state .. "\"", top) end
  local states, leaves, follow, reached = {}, {}, {}, {}
  local final = melt(machine.final or {})
  for _, frozen in ipairs(melt(machine:transitions())) do
    local edge = melt(frozen)
    states[edge.from], states[edge.to] = true, true
    if edge.to ~= edge.from then leaves[edge.from] = true end
    follow[edge.from] = follow[edge.from] or {}
    table.insert(follow[edge.from], edge.to)
  end
  for state in pairs(final) do
    states[state] = true
    if leaves[state] then report("state-final", file, at(state), state .. " is declared final but an edge leads out of it; remove one of both") end
  end
  if not machine.initial then
    report("state-initial", file, top, "the machine \"" .. machine.name .. "\" does not say how it begins; add initial = \"...\"")
    return
  end
  states[machine.initial] = true
  local todo = { machine.initial }
  while #todo > 0 do
    local state = table.remove(todo)
    if not reached[state] then
      reached[state] = true
      for _, to in ipairs(follow[state] or {}) do todo[#todo + 1] = to end
    end
  end
  for _, state in ipairs(sorted_keys(states)) do
    if not reached[state] then
      report("state-unreachable", file, at(state), "no way leads from " .. machine.initial .. " to " .. state .. "; add an edge to it, or remove it")
    elseif not leaves[state] and not final[state] then
      report("state-dead-end", file, at(state), "no way leads out of " .. state .. "; add an edge, or say so: final = \"" .. state .. "\"")
    end
  end
end

local seen = {}
local function walk_machines(value, file, depth)
  value = melt(value)
  if type(value) ~= "table" or seen[value] or depth > DEPTH_MAX then return end
  seen[value] = true
  if is_machine(value) then return check_machine(value, file) end
  for _, member in next, value do walk_machines(member, file, depth + 1) end
end

local function walk_statements(value, file, key, line, depth)
  value = melt(value)
  if type(value) == "string" and find(value, "%a%s") then
    statements[#statements + 1] = { file = file, line = line, key = key, sql = value }
  elseif type(value) == "table" and depth <= DEPTH_MAX then
    for _, name in ipairs(sorted_keys(value)) do
      walk_statements(value[name], file, key .. "." .. tostring(name), depth == 0 and line_of(file, "." .. tostring(name) .. " ") or line, depth + 1)
    end
  end
end

for _, name in ipairs(sorted_keys(modules)) do
  local file = "rules/" .. name:gsub("%.", "/") .. ".lua"
  if files[file] then
    walk_machines(modules[name], file, 0)
    if find(file, "/store%.lua$") then walk_statements(modules[name], file, "store", 1, 0) end
  end
end
return findings, statements
