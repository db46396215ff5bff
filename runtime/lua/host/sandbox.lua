-- Builds what rules can see: an allow-list of globals, `require` over the bundle, and modules that cannot be changed after load.
--
-- Runs once in a fresh state with all of the base, string, table, math and bit libraries; nothing else was ever opened there
-- (no io, os, debug, ffi, jit, package). Rules get copies of what is harmless and bounded versions of what is not.
-- `host` holds the C side: compile(path), has(path), primitive(name), now_ms(), service, names.
local host = ...

local rawget, rawset, setmetatable, getmetatable, type, next = rawget, rawset, setmetatable, getmetatable, type, next
local error, select, tostring, pcall, unpack, newproxy = error, select, tostring, pcall, unpack, newproxy
local setfenv, yield, floor = setfenv, coroutine.yield, math.floor
local string, table, math, bit = string, table, math, bit
local tick = host.tick -- the budget is looked at before the next instruction

-- Frozen values -----------------------------------------------------------------------------------------------------------
-- A module's table is shared by all requests of its service, so rules see it through a userdata that reads and never writes.
local targets = setmetatable({}, { __mode = "k" }) -- proxy -> table
local proxies = setmetatable({}, { __mode = "v" }) -- table -> proxy

local function refuse_write(_, key)
  error("a module cannot be changed after it was loaded (writing \"" .. tostring(key) .. "\")", 2)
end

local freeze
function freeze(value)
  if type(value) ~= "table" then return value end
  local proxy = proxies[value]
  if proxy then return proxy end
  proxy = newproxy(true)
  proxies[value], targets[proxy] = proxy, value
  local own, meta = getmetatable(value), getmetatable(proxy)
  meta.__index, meta.__newindex, meta.__metatable, meta.__frozen = value, refuse_write, false, value
  meta.__len = function() return #value end
  if type(own) == "table" then
    local fallback = rawget(own, "__index") -- what is found through it belongs to the module too
    if type(fallback) == "table" and fallback ~= value then rawset(own, "__index", freeze(fallback)) end
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
local STEPS_MAX = 2e8         -- that a match may take at worst: a fraction of a second inside C, where no budget looks
local STEPS_COUNTED = 1e6     -- beyond it the budget is looked at before the match
local PATTERNS_KEPT = 500     -- whose cost is remembered
local UNPACK_MAX = 1000
local SORT_MAX = 100000       -- entries of a list that is sorted
local CALLBACKS_MAX = 20      -- gsub and sort within each other
local SHIFT_MAX = 10000       -- entries that insert and remove may move

local function above(n, limit) return n > limit or n ~= n end -- a nan is above everything

local function kind(value) return targets[value] and "table" or type(value) end

-- Addresses of objects are nobody's business: they tell an attacker where things lie.
local function text(value)
  local shown = type(value)
  if shown == "string" then return value end
  if shown == "number" or shown == "boolean" or shown == "nil" then return tostring(value) end
  if shown == "table" or shown == "userdata" then -- it may have a __tostring, also behind a hidden metatable
    local made = tostring(value)
    if type(made) == "string" and string.sub(made, 1, #shown + 4) ~= shown .. ": 0x" then return made end
  end
  return kind(value)
end

-- A match can go back: .-.-.-.-b on 3,000 letters takes years. What it costs at worst follows from its degree: how many repetitions can end in
-- more than one place, because what comes after them may match the same bytes, and one more when it may begin anywhere.
local MEMBERS = {} -- every byte, to ask a class what it holds
for i = 0, 255 do MEMBERS[i] = string.char(i) end
local raw_find, raw_sub, raw_byte = string.find, string.sub, string.byte

-- The end of the single-character item that begins at `at`: a class, a set, an escaped or a plain byte.
local function item_end(pattern, at)
  local first = raw_sub(pattern, at, at)
  if first == "%" then return at + 1 end
  if first ~= "[" then return at end
  local i = at + 1
  if raw_sub(pattern, i, i) == "^" then i = i + 1 end
  repeat -- a ] that comes first stands for itself
    if raw_sub(pattern, i, i) == "%" then i = i + 1 end
    i = i + 1
  until i > #pattern or raw_sub(pattern, i, i) == "]"
  return i
end

local function overlap(a, b)
  for i = 0, 255 do
    if raw_find(MEMBERS[i], "^" .. a .. "$") and raw_find(MEMBERS[i], "^" .. b .. "$") then return true end
  end
  return false
end

-- The items of a pattern: { text =, rep = "*", "+", "-", "?" or nil, scans = it reads on by itself (%b, %1) }
local function items_of(pattern)
  local items, at = {}, 1
  if raw_byte(pattern, 1) == 94 then at = 2 end
  while at <= #pattern do
    local first, second = raw_sub(pattern, at, at), raw_sub(pattern, at + 1, at + 1)
    if first == "(" or first == ")" then
      at = at + 1
    elseif first == "%" and second == "b" then
      items[#items + 1] = { scans = true }
      at = at + 4
    elseif first == "%" and second == "f" then
      at = item_end(pattern, at + 2) + 1
    elseif first == "%" and raw_find(second, "^%d") then
      items[#items + 1] = { scans = true }
      at = at + 2
    elseif first == "$" and at == #pattern then
      at = at + 1
    else
      local last = item_end(pattern, at)
      local rep = raw_sub(pattern, last + 1, last + 1)
      if not raw_find(rep, "^[*+?-]") then rep = nil end
      items[#items + 1] = { text = raw_sub(pattern, at, last), rep = rep }
      at = last + (rep and 2 or 1)
    end
  end
  return items
end

local costs, cost_count = {}, 0 -- pattern -> { degree =, factor = }

-- Can what comes after item i match what the item matches? Items that may be empty are looked through.
local function is_open(items, i)
  for k = i + 1, #items do
    local item = items[k]
    if item.scans or overlap(items[i].text, item.text) then return true end
    if not item.rep or item.rep == "+" then return false end
  end
  return false
end

local function cost_of(pattern)
  local cost = costs[pattern]
  if cost then return cost end
  local items, open, reads, factor = items_of(pattern), 0, 0, 1
  for i = 1, #items do
    local item = items[i]
    local repeats = item.rep and item.rep ~= "?"
    if item.rep and is_open(items, i) then
      if repeats then open = open + 1 else factor = factor * 2 end
    elseif repeats or item.scans then
      reads = 1
    end
  end
  cost = { degree = open + reads + (raw_byte(pattern, 1) == 94 and 0 or 1), factor = factor }
  if cost_count >= PATTERNS_KEPT then costs, cost_count = {}, 0 end
  costs[pattern], cost_count = cost, cost_count + 1
  return cost
end

-- As many ways as there are to place `degree` ends in the text, times the optional items taken or not.
local function steps_of(cost, length)
  local steps = cost.factor
  for k = 1, cost.degree do
    steps = steps * (length + k) / k
    if steps > STEPS_MAX then return steps end
  end
  return steps
end

-- C functions that call back (gsub, sort) within each other use the process's own stack, which nothing else counts.
local callbacks = 0

local function ended(ok, ...)
  callbacks = callbacks - 1
  if not ok then error((...), 0) end
  return ...
end

local function call_back(name, f, ...)
  if callbacks >= CALLBACKS_MAX then error(name .. ": it calls itself too deeply", 3) end
  callbacks = callbacks + 1
  return ended(pcall(f, ...))
end

local function bounded_pattern(name, find)
  local has_plain, calls_back = name == "string.find", name == "string.gsub"
  return function(subject, pattern, third, fourth)
    local length = type(subject) == "string" and #subject or 32
    if length > SUBJECT_MAX then error(name .. ": the text is longer than " .. SUBJECT_MAX .. " bytes", 2) end
    if type(pattern) == "string" and not (has_plain and fourth) then
      if #pattern > PATTERN_MAX then error(name .. ": the pattern is longer than " .. PATTERN_MAX .. " bytes", 2) end
      local steps = steps_of(cost_of(pattern), length)
      if steps > STEPS_MAX then
        error(name .. ": the pattern may take too long on a text of " .. length .. " bytes; begin it with ^, or let its parts match "
          .. "different characters", 2)
      end
      if steps > STEPS_COUNTED then tick() end
    end
    if calls_back and type(third) ~= "string" then return call_back(name, find, subject, pattern, third, fourth) end
    return find(subject, pattern, third, fourth)
  end
end

-- What reads or makes as many bytes as it is given.
local function bounded_text(name, f)
  return function(s, ...)
    if type(s) == "string" and #s > TEXT_MAX then error(name .. ": the text is longer than " .. TEXT_MAX .. " bytes", 2) end
    return f(s, ...)
  end
end

local safe_string = {
  byte = string.byte, char = string.char, len = string.len, lower = bounded_text("string.lower", string.lower),
  upper = bounded_text("string.upper", string.upper), reverse = bounded_text("string.reverse", string.reverse), sub = string.sub,
  find = bounded_pattern("string.find", string.find), match = bounded_pattern("string.match", string.match),
  gmatch = bounded_pattern("string.gmatch", string.gmatch), gsub = bounded_pattern("string.gsub", string.gsub),
}

function safe_string.rep(s, n, separator)
  local size = (#tostring(s) + (separator and #tostring(separator) or 0)) * (tonumber(n) or 0)
  if above(size, TEXT_MAX) or above(tonumber(n) or 0, TEXT_MAX) then
    error("string.rep: the result would be longer than " .. TEXT_MAX .. " bytes", 2)
  end
  return string.rep(s, n, separator)
end

function safe_string.format(template, ...)
  if type(template) ~= "string" or #template > SUBJECT_MAX then error("string.format: a template of at most " .. SUBJECT_MAX .. " bytes", 2) end
  if raw_find(template, "p", 1, true) and raw_find(string.gsub(template, "%%%%", ""), "%%[-+ #0]*%d*%.?%d*p") then
    error("string.format: %p is not available", 2)
  end
  local values, count, size = { ... }, select("#", ...), #template
  for i = 1, count do
    local shown = type(values[i])
    if shown ~= "number" then values[i] = text(values[i]) end
    if shown ~= "number" then size = size + #values[i] end
  end
  if size > TEXT_MAX then error("string.format: the result would be longer than " .. TEXT_MAX .. " bytes", 2) end
  return string.format(template, unpack(values, 1, count))
end

local safe_table = { maxn = table.maxn }

function safe_table.sort(list, less)
  if type(list) == "table" and #list > SORT_MAX then error("table.sort: a list of at most " .. SORT_MAX .. " entries", 2) end
  if type(list) == "table" and #list > 1000 then tick() end
  return call_back("table.sort", table.sort, list, less)
end

function safe_table.insert(list, ...)
  local at = ...
  if select("#", ...) == 1 or type(list) ~= "table" or type(at) ~= "number" then return table.insert(list, ...) end
  if above(#list - at, SHIFT_MAX) then error("table.insert: it would move more than " .. SHIFT_MAX .. " entries", 2) end
  return table.insert(list, ...)
end

function safe_table.remove(list, at)
  if at == nil then return table.remove(list) end
  if type(list) == "table" and type(at) == "number" and above(#list - at, SHIFT_MAX) then
    error("table.remove: it would move more than " .. SHIFT_MAX .. " entries", 2)
  end
  return table.remove(list, at)
end

function safe_table.concat(list, separator, first, last)
  list = melt(list)
  if type(list) ~= "table" then error("table.concat: a list was expected, got " .. kind(list), 2) end
  first, last = floor(tonumber(first) or 1), floor(tonumber(last) or #list)
  local size, gap = 0, separator and #tostring(separator) or 0
  for i = first, last do
    local value = rawget(list, i)
    size = size + gap + (type(value) == "string" and #value or 24)
    if size > TEXT_MAX then error("table.concat: the result would be longer than " .. TEXT_MAX .. " bytes", 2) end
  end
  return table.concat(list, separator, first, last)
end

local function safe_unpack(list, first, last)
  list = melt(list)
  if type(list) ~= "table" then error("unpack: a list was expected, got " .. kind(list), 2) end
  first, last = tonumber(first) or 1, tonumber(last) or #list
  if above(last - first + 1, UNPACK_MAX) then error("unpack: at most " .. UNPACK_MAX .. " values", 2) end
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

local plain_inext = ipairs {} -- Lua's own step, which costs a third

local function safe_ipairs(list)
  if targets[list] then return frozen_inext, list, 0 end
  if type(list) ~= "table" then error("ipairs: a table was expected, got " .. kind(list), 2) end
  return getmetatable(list) == nil and plain_inext or frozen_inext, list, 0
end

local function safe_getmetatable(value)
  if type(value) ~= "table" then return nil end
  return getmetatable(value)
end

-- Its handler runs after the error, like any function: not on top of it, where no budget would end it.

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

-- What people look for, and what there is instead.
local INSTEAD = {
  os = "the time comes from shama.clock", io = "rules have no files", print = "use shama.log", coroutine = "the host runs things side by side",
  load = "code comes from rule files only", loadstring = "code comes from rule files only", dofile = "use require",
  debug = "errors carry a traceback",
  collectgarbage = "the host collects", _G = "every module has its own names",
}

local function missing(_, name)
  local instead = INSTEAD[name]
  if instead then error("\"" .. name .. "\" does not exist in rules: " .. instead, 2) end
  local near = type(name) == "string" and nearest(name)
  error("undefined name \"" .. text(name) .. "\"" .. (near and " (did you mean \"" .. near .. "\"?)" or "") ..
    "; declare it with `local` or require the module that has it", 2)
end

local function forbidden(_, name)
  error("writing the global \"" .. text(name) .. "\"; write `local " .. text(name) .. "`", 2)
end

-- Every module has an environment of its own over the same names. Its `require` knows whose it is.
local function environment(require_here)
  local env = copy(allowed)
  if require_here then env.require = require_here end
  return setmetatable({}, { __index = setmetatable(env, { __index = missing }), __newindex = forbidden, __metatable = false })
end

-- Modules -----------------------------------------------------------------------------------------------------------------
local loaded = {}   -- name -> { value = , impure = name of the first impure thing below it or nil, used = { primitive = true } }
local loading = {}  -- stack of { name =, path =, impure =, used = }
local sealed = false -- after the load nothing new is read
local stepping = false -- load_service() yields after each module

local function note(entry, user)
  if not user then return end
  if entry.impure and not user.impure then user.impure = entry.impure end
  for name in next, entry.used do user.used[name] = true end
  if user.decider and user.impure then
    error(user.path .. ": a decider may use pure modules only, but " .. user.impure .. " is not", 0)
  end
end

-- make_env(entry) is the environment of the file. What it raises leaves nothing half loaded behind.
local function run_file(name, path, make_env, ...)
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
  local entry = { name = name, path = path, used = {}, is_loading = true }
  setfenv(chunk, make_env(entry))
  local depth = #loading
  loading[depth + 1] = entry
  local ok, value = pcall(chunk, name, ...)
  for i = #loading, depth + 1, -1 do loading[i] = nil end
  entry.is_loading = nil
  if not ok then error(value, 0) end
  if stepping then yield() end -- one module a turn of the loop
  if value == nil then error(path .. ": the module must return a value", 0) end
  entry.value = freeze(value)
  entry.raw = value
  return entry
end

-- Library modules see Lua's own functions, but for those that would show addresses to the rules that call them.
local trusted = getfenv(0)
local require_for

local function library_environment(entry)
  return setmetatable({ require = require_for(entry), melt = melt, tostring = text }, { __index = trusted })
end

local function rule_environment(entry) return environment(require_for(entry)) end

local function load_library(name)
  local path, short = "lua/" .. name:gsub("%.", "/") .. ".lua", name:sub(7)
  local is_for_rules = name:find("^shama%.[%l_]+$") and short ~= "test"
  local may_load = is_for_rules or (host.trusted and name:find("^shama%.[%l_%.]+$"))
  local raw, pure
  if may_load then raw, pure = host.primitive(short) end
  if raw == nil and not (may_load and host.has(path)) then
    local near = host.nearest(short, host.names)
    error("there is no module \"" .. name .. "\"" .. (near and " (did you mean \"shama." .. near .. "\"?)" or ""), 0)
  end
  local entry
  if host.has(path) then
    entry = run_file(name, path, library_environment, raw)
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
  return run_file(name, path, rule_environment)
end

-- The `require` of the module `user`; of specs and the console when there is none.
function require_for(user)
  return function(name)
    if type(name) ~= "string" then error("require: a module name was expected", 2) end
    local entry = loaded[name]
    if (sealed and not entry) or (user and not user.is_loading) then
      error("require \"" .. name .. "\" after the rules were loaded; require modules at the top of the file", 2)
    end
    if not entry then
      if name:sub(1, 6) == "shama." then entry = load_library(name) else entry = load_rule(name, user and user.path) end
      loaded[name] = entry
    end
    if name == "shama.decider" and user then
      user.decider = true
      if user.impure then error(user.path .. ": a decider may use pure modules only, but " .. user.impure .. " is not", 0) end
    end
    note(entry, user)
    return (user and user.path:sub(1, 4) == "lua/") and entry.raw or entry.value
  end
end

local require = require_for(nil)
trusted.require = require
trusted.melt = melt -- library modules look into what rules hand them

-- Nobody needs these any more; whoever got hold of the trusted names would find little.
if not host.trusted then
  for _, name in next, { "collectgarbage", "coroutine", "dofile", "gcinfo", "getfenv", "load", "loadfile", "loadstring", "module", "newproxy",
    "print", "setfenv" } do
    trusted[name] = nil
  end
  rawset(string, "dump", nil)
end

-- The service's manifest and messages; what modules used is compared with what the manifest needs.
local function load_service()
  local service = host.service
  local path = "rules/" .. service .. "/service.lua"
  stepping = true
  if not host.has(path) then error("there is no file " .. path, 0) end
  local entry = run_file(service .. ".service", path, rule_environment)
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
    messages[language] = host.has(file) and run_file(service .. ".messages." .. language, file, rule_environment).raw or {}
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
  environment = function() return environment(require) end,
  melt = melt,
  module = function(name) local entry = loaded[name]; return entry and entry.raw end,
  -- name -> value of all that is loaded, for checks.
  modules = function()
    local values = {}
    for name, entry in next, loaded do values[name] = entry.raw end
    return values
  end,
  -- For specs and the console: a module may still be loaded at any time.
  unseal = function() sealed = false end,
}
