-- Evaluates what is typed into `shama console`: Lua in the sandbox of a service, with names of its own that stay from line to line.
--
-- Called with the host's { environment =, require = } of the sandbox; returns evaluate(code) -> what became of it, and a text to show:
-- "value" (the text may be nil: nothing to show), "more" (the code goes on in the next line), "error".
local host = ...

local json = host.require "shama.json"
local sandbox = host.environment()
local traceback, loadstring, setfenv, xpcall, select = debug.traceback, loadstring, setfenv, xpcall, select
local find, sub, rep = string.find, string.sub, string.rep

local INDENT = "  "

-- Other names than the sandbox's may be written here, without `local`.
local names = setmetatable({}, { __index = sandbox })
for _, short in ipairs { "db", "decimal", "json" } do names[short] = host.require("shama." .. short) end

-- JSON text, a member a line.
local function pretty(text)
  local out, depth, i = {}, 0, 1
  local function line() out[#out + 1] = "\n" .. rep(INDENT, depth) end
  while i <= #text do
    local c = sub(text, i, i)
    if c == "\"" then
      local k = i + 1
      while sub(text, k, k) ~= "\"" do k = k + (sub(text, k, k) == "\\" and 2 or 1) end
      out[#out + 1], i = sub(text, i, k), k
    elseif find(text, "^[%[{][%]}]", i) then
      out[#out + 1], i = sub(text, i, i + 1), i + 1
    elseif c == "{" or c == "[" then
      out[#out + 1], depth = c, depth + 1
      line()
    elseif c == "}" or c == "]" then
      depth = depth - 1
      line()
      out[#out + 1] = c
    elseif c == "," then
      out[#out + 1] = c
      line()
    elseif c == ":" then
      out[#out + 1] = ": "
    else
      out[#out + 1] = c
    end
    i = i + 1
  end
  return table.concat(out)
end

local function shown(value)
  local kind = sandbox.type(value)
  if value == nil then return "nil" end
  if kind == "function" then return "a function" end
  local ok, text = pcall(json.encode, value)
  if ok and text then return pretty(text) end
  return sandbox.tostring(value) .. (kind == "table" and " (holds what JSON cannot show)" or "")
end

local function all_shown(...)
  local count, texts = select("#", ...), {}
  for i = 1, count do texts[i] = shown((select(i, ...))) end
  if count > 0 then return table.concat(texts, "\n") end
end

-- What was raised as a text, and where; without our own frames.
local function explain(problem)
  local text
  if type(problem) == "table" and rawget(problem, "__refusal") then
    local params = problem.params and " " .. shown(problem.params) or ""
    text = "refused: " .. tostring(problem.code) .. params
  else
    text = sandbox.tostring(problem)
    if type(problem) == "table" and type(rawget(problem, "message")) == "string" then
      text = "database: " .. problem.message .. (problem.sqlstate and " (" .. problem.sqlstate .. ")" or "")
    end
  end
  local trace = traceback("", 2):gsub("\n[^\n]*lua/host/console%.lua:[^\n]*", ""):gsub("\n[^\n]*%[C%]: in function 'xpcall'", "")
  return text .. trace
end

local function is_incomplete(problem) return find(problem, "near '<eof>'", 1, true) ~= nil end

-- An expression, or else statements.
local function compile(code)
  if code:byte(1) == 27 then return nil, "bytecode is not taken" end
  local chunk, problem = loadstring("return " .. code, "=console")
  if chunk then return chunk end
  local statements, reason = loadstring(code, "=console")
  if statements then return statements end
  return nil, is_incomplete(problem) and problem or reason
end

local function outcome(ok, ...)
  if ok then return "value", all_shown(...) end
  return "error", (...)
end

return function(code)
  local chunk, problem = compile(code)
  if not chunk then return is_incomplete(problem) and "more" or "error", problem end
  setfenv(chunk, names)
  return outcome(xpcall(chunk, explain))
end
