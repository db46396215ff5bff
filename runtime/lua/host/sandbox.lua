-- Builds what rules can see: an allow-list of globals, `require` over the bundle, and modules that cannot be changed after load.
--
-- Runs once in a fresh state with all of the base, string, table, math and bit libraries; nothing else was ever opened there
-- (no io, os, debug, ffi, jit, package). Rules get copies of what is harmless and bounded versions of what is not.
-- `host` holds the C side: compile(path), has(path), primitive(name), now_ms(), service, names.
local host = ...

local rawget, rawset, setmetatable, getmetatable, type, next = rawget, rawset, setmetatable, getmetatable, type, next
local error, select, tostring, pcall, unpack, newproxy = error, select, tostring, pcall, unpack, newproxy
local setfenv, yield = setfenv, coroutine.yield
local string, table, math, bit = string, table, math, bit

-- Frozen values -----------------------------------------------------------------------------------------------------------
-- A module's table is shared by all requests of its service, so rules see it through a userdata that reads and never writes.
local targets = setmetatable({}, { __mode = "k" }) -- proxy -> table
local proxies = setmetatable({}, { __mode = "v" }) -- table -> proxy

local function refuse_write(_, key)
  error("a module cannot be changed after it was loaded (writing \"" .. tostring(key) .. "\")", 2)
end

local function freeze(value)
  if type(value) ~= "table" then return value end
  local proxy = proxies[value]
  if proxy then return proxy end
  proxy = newproxy(true)
  proxies[value], targets[proxy] = proxy, value
  local own, meta = getmetatable(value), getmetatable(proxy)
  meta.__index, meta.__newindex, meta.__metatable, meta.__frozen = value, refuse_write, false, value
  meta.__len = function() return #value end
  if type(own) == "table" then
    for _, name in next, { "__call", "__tostring", "__concat", "__eq", "__lt", "__le", "__unm", "__add", "__sub", "__mul", "__div" } do
      meta[name] = own[name]
    end
  elseif own == false then -- a module of the host that hides its metatable; it may be callable
    meta.__call = function(_, ...) return value(...) end
  end
  for key, member in next, value do
    if type(member) == "table" then rawset(value, key, freeze(member)) end
  end
  return proxy
end

local function melt(value) return targets[value] or value end

-- Globals -----------------------------------------------------------------------------------------------------------------
local TEXT_MAX = 1048576      -- bytes that string.rep, table.concat and string.format may make
local SUBJECT_MAX = 65536     -- bytes that a pattern may be matched against
local PATTERN_MAX = 256       -- bytes of a pattern
local UNPACK_MAX = 1000

local function kind(value) return targets[value] and "table" or type(value) end

-- Addresses of objects are nobody's business: they tell an attacker where things lie.
local function text(value)
  local shown = type(value)
  if shown == "string" then return value end
  if shown == "number" or shown == "boolean" or shown == "nil" then return tostring(value) end
  local meta = getmetatable(targets[value] or value)
  local custom = type(meta) == "table" and rawget(meta, "__tostring")
  if custom or (shown == "userdata" and not targets[value]) then
    local made = tostring(value)
    if type(made) == "string" and not made:find("^userdata: 0x") then return made end
  end
  return kind(value)
end

local function bounded_pattern(name, find)
  return function(subject, pattern, ...)
    if type(subject) == "string" and #subject > SUBJECT_MAX then
      error(name .. ": the text is longer than " .. SUBJECT_MAX .. " bytes", 2)
    end
    if type(pattern) == "string" and #pattern > PATTERN_MAX then
      error(name .. ": the pattern is longer than " .. PATTERN_MAX .. " bytes", 2)
    end
    return find(subject, pattern, ...)
  end
end

local safe_string = {
  byte = string.byte, char = string.char, len = string.len, lower = string.lower, upper = string.upper,
  reverse = string.reverse, sub = string.sub,
  find = bounded_pattern("string.find", string.find), match = bounded_pattern("string.match", string.match),
  gmatch = bounded_pattern("string.gmatch", string.gmatch), gsub = bounded_pattern("string.gsub", string.gsub),
}

function safe_string.rep(s, n)
  if #s * n > TEXT_MAX then error("string.rep: the result would be longer than " .. TEXT_MAX .. " bytes", 2) end
  return string.rep(s, n)
end

function safe_string.format(template, ...)
  if type(template) ~= "string" or #template > SUBJECT_MAX then error("string.format: a template of at most " .. SUBJECT_MAX .. " bytes", 2) end
  if template:find("%%[^%%]*p") and template:gsub("%%%%", ""):find("%%[-+ #0]*%d*%.?%d*p") then error("string.format: %p is not available", 2) end
  local values, count, size = { ... }, select("#", ...), #template
  for i = 1, count do
    local shown = type(values[i])
    if shown ~= "number" then values[i] = text(values[i]) end
    if shown == "string" then size = size + #values[i] end
  end
  if size > TEXT_MAX then error("string.format: the result would be longer than " .. TEXT_MAX .. " bytes", 2) end
  return string.format(template, unpack(values, 1, count))
end

local safe_table = { insert = table.insert, remove = table.remove, maxn = table.maxn }

function safe_table.sort(list, less) return table.sort(list, less) end

function safe_table.concat(list, separator, first, last)
  list = melt(list)
  local size, gap = 0, separator and #separator or 0
  for i = first or 1, last or #list do
    local value = list[i]
    size = size + gap + (type(value) == "string" and #value or 24)
    if size > TEXT_MAX then error("table.concat: the result would be longer than " .. TEXT_MAX .. " bytes", 2) end
  end
  return table.concat(list, separator, first, last)
end

local function safe_unpack(list, first, last)
  list = melt(list)
  first, last = first or 1, last or #list
  if last - first >= UNPACK_MAX then error("unpack: at most " .. UNPACK_MAX .. " values", 2) end
  return unpack(list, first, last)
end

local function copy(from, leave)
  local to = {}
  for key, value in next, from do
    if not (leave and leave[key]) then to[key] = value end
  end
  return to
end

local function frozen_next(target)
  return function(_, key) return next(target, key) end
end

local function safe_pairs(list)
  local target = targets[list]
  if target then return frozen_next(target), list, nil end
  if type(list) ~= "table" then error("pairs: a table was expected, got " .. kind(list), 2) end
  return next, list, nil
end

local function frozen_inext(list, i)
  i = i + 1
  local value = list[i]
  if value ~= nil then return i, value end
end

local function safe_ipairs(list)
  if targets[list] then return frozen_inext, list, 0 end
  if type(list) ~= "table" then error("ipairs: a table was expected, got " .. kind(list), 2) end
  return frozen_inext, list, 0
end

local function safe_getmetatable(value)
  if type(value) ~= "table" then return nil end
  return getmetatable(value)
end

local function safe_xpcall(f, handler, ...)
  local results = { pcall(f, ...) }
  if results[1] then return unpack(results, 1, table.maxn(results)) end
  return false, handler(results[2])
end

-- What a rule may call by name. Everything that is not here does not exist for it.
local allowed = {
  assert = assert, error = error, pcall = pcall, xpcall = safe_xpcall, select = select, tonumber = tonumber,
  rawequal = rawequal, setmetatable = setmetatable, getmetatable = safe_getmetatable,
  next = function(list, key) return next(melt(list), key) end,
  rawget = function(list, key) return rawget(melt(list), key) end,
  rawset = rawset,
  type = kind, tostring = text, pairs = safe_pairs, ipairs = safe_ipairs, unpack = safe_unpack,
  string = freeze(safe_string), table = freeze(safe_table),
  math = freeze(copy(math, { random = true, randomseed = true })),
  bit = freeze(copy(bit)),
  _VERSION = "Lua 5.1",
}

-- Strings find their methods through the same bounded functions; nobody can change or reach that table.
local string_meta = getmetatable("")
string_meta.__index = safe_string
string_meta.__metatable = false

local function nearest(name)
  local names = {}
  for key in next, allowed do names[#names + 1] = key end
  return host.nearest(name, names)
end

local function missing(_, name)
  local near = type(name) == "string" and nearest(name)
  error("undefined name \"" .. text(name) .. "\"" .. (near and " (did you mean \"" .. near .. "\"?)" or "") ..
    "; declare it with `local` or require the module that has it", 2)
end

local function forbidden(_, name)
  error("writing the global \"" .. text(name) .. "\"; write `local " .. text(name) .. "`", 2)
end

-- Every module has an environment of its own over the same names, so that a decider can be told from an action.
local function environment(extra)
  local env = copy(allowed)
  for key, value in next, extra or {} do env[key] = value end
  return setmetatable({}, { __index = setmetatable(env, { __index = missing }), __newindex = forbidden, __metatable = false })
end

-- Modules -----------------------------------------------------------------------------------------------------------------
local loaded = {}   -- name -> { value = , impure = name of the first impure thing below it or nil, used = { primitive = true } }
local loading = {}  -- stack of { name =, path =, impure =, used = }
local sealed = false -- after the load nothing new is read
local stepping = false -- load_service() yields after each module

local function note(entry)
  local user = loading[#loading]
  if not user then return end
  if entry.impure and not user.impure then user.impure = entry.impure end
  for name in next, entry.used do user.used[name] = true end
  if user.decider and user.impure then
    error(user.path .. ": a decider may use pure modules only, but " .. user.impure .. " is not", 0)
  end
end

local function run_file(name, path, env, ...)
  for i = 1, #loading do
    if loading[i].name == name then
      local circle = {}
      for k = i, #loading do circle[#circle + 1] = loading[k].name end
      circle[#circle + 1] = name
      error("modules require each other in a circle: " .. table.concat(circle, " -> "), 0)
    end
  end
  local chunk, problem = host.compile(path)
  if not chunk then error(problem, 0) end
  setfenv(chunk, env)
  local entry = { name = name, path = path, used = {} }
  loading[#loading + 1] = entry
  local value = chunk(name, ...)
  loading[#loading] = nil
  if stepping then yield() end -- one module a turn of the loop
  if value == nil then error(path .. ": the module must return a value", 0) end
  entry.value = freeze(value)
  entry.raw = value
  return entry
end

local trusted = getfenv(0)

local function load_library(name)
  local path, short = "lua/" .. name:gsub("%.", "/") .. ".lua", name:sub(7)
  local raw, pure = host.primitive(short)
  if raw == nil and not host.has(path) then
    local near = host.nearest(short, host.names)
    error("there is no module \"" .. name .. "\"" .. (near and " (did you mean \"shama." .. near .. "\"?)" or ""), 0)
  end
  local entry
  if host.has(path) then
    entry = run_file(name, path, trusted, raw)
  else
    entry = { name = name, path = path, used = {}, value = freeze(raw), raw = raw }
  end
  if raw ~= nil and not pure then
    entry.impure = name
    entry.used[short] = true
  end
  return entry
end

local function load_rule(name, from)
  local service = name:match("^([%l%d_]+)%.[%l%d_.]+$")
  if not service then error("\"" .. text(name) .. "\" is no module name; write \"service.module\", \"shared.module\" or \"shama.module\"", 0) end
  if host.service and service ~= host.service and service ~= "shared" then
    error((from or "?") .. ": a service cannot require another one's module \"" .. name .. "\"; read its views or its events instead", 0)
  end
  local path = "rules/" .. name:gsub("%.", "/") .. ".lua"
  if not host.has(path) then error((from or "?") .. ": there is no file " .. path .. " for the module \"" .. name .. "\"", 0) end
  return run_file(name, path, environment())
end

local function require(name)
  if type(name) ~= "string" then error("require: a module name was expected", 2) end
  local user = loading[#loading]
  local entry = loaded[name]
  if not entry then
    if sealed then error("require \"" .. name .. "\" after the rules were loaded; require modules at the top of the file", 2) end
    if name:sub(1, 6) == "shama." then entry = load_library(name) else entry = load_rule(name, user and user.path) end
    loaded[name] = entry
  end
  if name == "shama.decider" and user then
    user.decider = true
    if user.impure then error(user.path .. ": a decider may use pure modules only, but " .. user.impure .. " is not", 0) end
  end
  note(entry)
  return (user and user.path:sub(1, 4) == "lua/") and entry.raw or entry.value
end

allowed.require = require
trusted.require = require
trusted.melt = melt -- library modules look into what rules hand them

-- The service's manifest and messages; what modules used is compared with what the manifest needs.
local function load_service()
  local service = host.service
  local path = "rules/" .. service .. "/service.lua"
  stepping = true
  if not host.has(path) then error("there is no file " .. path, 0) end
  local entry = run_file(service .. ".service", path, environment())
  local manifest = entry.raw
  if type(manifest) ~= "table" then error(path .. ": must return the manifest, a table", 0) end
  local declared = {}
  for _, need in next, melt(manifest.needs or {}) do declared[need] = true end
  for used in next, entry.used do
    if not declared[used] then error(path .. ": the service uses shama." .. used .. ", but `needs` does not list \"" .. used .. "\"", 0) end
  end
  local messages = {}
  for _, language in next, { "es", "en" } do
    local file = "rules/" .. service .. "/messages/" .. language .. ".lua"
    messages[language] = host.has(file) and run_file(service .. ".messages." .. language, file, environment()).raw or {}
  end
  for code in next, melt(manifest.refusals or {}) do
    for language, texts in next, messages do
      if type(texts[code]) ~= "string" then
        error(path .. ": the refusal " .. text(code) .. " has no text in messages/" .. language .. ".lua", 0)
      end
    end
  end
  for _, name in next, { "shama.consumer", "shama.refusal", "shama.json" } do -- the host calls these
    if not loaded[name] and host.has("lua/" .. name:gsub("%.", "/") .. ".lua") then loaded[name] = load_library(name) end
  end
  sealed, stepping = true, false
  return manifest, messages
end

return {
  load_service = load_service,
  require = require,
  environment = environment,
  melt = melt,
  module = function(name) local entry = loaded[name]; return entry and entry.raw end,
  -- For specs and the console: a module may still be loaded at any time.
  unseal = function() sealed = false end,
}
