-- Runs busted inside the task of `shama test`: called with the command line, returns the exit code.
--
-- busted comes from where Debian put it, through Lua's own `require`; rule modules and shama.* come from the bundle. Each part of a spec
-- file is told to the host before it runs, which names it when it hangs and gives it a CPU budget of its own.
local _, host = ...
local system_require, sandbox_require = host.system_require, host.sandbox_require

local EXIT = {} -- raised by os.exit(), which would end the process under the host's feet
local exit_code

-- Rules see frozen modules as tables; so do specs and what busted compares with.
local function see_frozen_tables()
  local env = host.environment()
  _G.type, _G.next, _G.pairs, _G.ipairs = env.type, env.next, env.pairs, env.ipairs
end

-- "sales.quotation" is the file rules/sales/quotation.lua of the bundle; everything else is Lua's.
function _G.require(name)
  if type(name) == "string" and (name:sub(1, 6) == "shama." or host.has_rule(name)) then return sandbox_require(name) end
  return system_require(name)
end

function _G.os.exit(code)
  exit_code = code == true and 0 or tonumber(code) or (code == nil and 0 or 1)
  error(EXIT, 0)
end

local function full_name(busted, element)
  local names = {}
  while element and element.name and element.descriptor ~= "file" do
    table.insert(names, 1, element.name)
    element = busted.context.parent(element)
  end
  return table.concat(names, " ")
end

-- Tells the host what runs.
local function watch(busted)
  local file = "?"
  busted.subscribe({ "file", "start" }, function(element)
    file = element.name
    host.enter(file, "the file itself, outside of any test")
    return nil, true
  end)
  busted.subscribe({ "test", "start" }, function(element)
    host.enter(file, "\"" .. full_name(busted, element) .. "\"")
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(element)
    host.enter(file, "what comes after \"" .. full_name(busted, element) .. "\"")
    return nil, true
  end)
  busted.subscribe({ "file", "end" }, function()
    sandbox_require("shama.test.app").leave()
    return nil, true
  end)
end

local function instrument_core()
  local core = system_require "busted.core"
  package.loaded["busted.core"] = function()
    local busted = core()
    watch(busted)
    return busted
  end
end

-- Specs are in tests/spec here, not in spec.
local function default_to_our_folder(arguments)
  local cli = system_require "busted.modules.cli"
  local named = false
  for _, argument in ipairs(arguments) do named = named or argument == "spec" end
  package.loaded["busted.modules.cli"] = function(options)
    local parser = cli(options)
    local parse = parser.parse
    function parser.parse(self, ...)
      local parsed, problem = parse(self, ...)
      local root = parsed and parsed.ROOT
      if type(root) == "table" and #root == 1 then root = root[1] end
      if root == "spec" and not named then parsed.ROOT = { "tests/spec" } end
      return parsed, problem
    end
    return parser
  end
end

-- The output handler of gate specs; a function of ours, but busted's own modules are in reach of its `require`.
local function know_gate_output()
  package.preload["busted.outputHandlers.gate"] = function() return sandbox_require "shama.test.gate" end
end

return function(arguments)
  see_frozen_tables()
  instrument_core()
  know_gate_output()
  default_to_our_folder(arguments)
  arguments[0] = "shama test"
  _G.arg = arguments
  local ok, problem = pcall(system_require "busted.runner", { standalone = false })
  if ok then return 0 end
  if problem == EXIT then return exit_code end
  error(problem, 0)
end
