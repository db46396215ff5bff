-- Ways out of the sandbox by names: what gives code, files, other environments, bytecode, or the guts of the machine. Each is refused with
-- an error that says what to do, and the next request on the same state is served.
local support = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "support.lua")
local assert_raises, value = support.assert_raises, support.value

describe("names that do not exist for rules", function()
  local NAMES = {
    "io", "os", "ffi", "jit", "debug", "package", "coroutine", "load", "loadstring", "loadfile", "dofile", "module", "newproxy", "getfenv", "setfenv",
    "collectgarbage", "gcinfo", "print", "_G", "arg", "melt", "host", "trusted",
  }
  for _, name in ipairs(NAMES) do
    it(name, function() assert_raises("return " .. name, "rules/demo/service.lua:%d+: [^\n]*" .. name) end)
  end

  for _, name in ipairs { "string.dump", "string.gfind", "table.foreach", "table.getn", "math.random", "math.randomseed", "table.new", "string.buffer" } do
    it(name, function() assert.is_true(value("return " .. name .. " == nil")) end)
  end

  it("a misspelt name, with the nearest one", function() assert_raises("return tostrin(1)", 'did you mean \\"tostring\\"') end)
  it("writing a global", function() assert_raises("limit = 1", "write `local limit`") end)
  it("writing a global by rawset, for want of a _G", function() assert_raises("rawset(_G, 'x', 1)", "_G") end)
end)

describe("modules that do not exist for rules", function()
  for _, name in ipairs { "ffi", "jit", "io", "debug", "cjson", "shama.test", "shama.test.sandbox", "shama.test.run", "host.sandbox", "sales.policy",
    "shama.../host/sandbox", "demo...service", "/etc/passwd", "demo.", "shared.../demo/policy" } do
    it("require " .. name, function()
      local box, problem = support.open("", { files = { ["rules/demo/extra.lua"] = "return 1", ["rules/demo/policy.lua"] = "return require " .. ("%q"):format(name) } })
      assert.is_nil(box)
      assert.truthy(problem:find("rules/demo/policy.lua", 1, true) or problem:find(name, 1, true), problem)
    end)
  end

  it("require at run time", function() assert_raises("return require 'demo.late'", "at the top of the file", { files = { ["rules/demo/late.lua"] = "return 1" } }) end)

  it("bytecode in a rule file", function()
    local box, problem = support.open("", { files = { ["rules/demo/policy.lua"] = string.dump(function() return {} end) } })
    assert.is_nil(box)
    assert.truthy(problem:find("rules/demo/policy.lua", 1, true), problem)
  end)

  local REST = "limit = 10, list = {}, life = require('shama.machine') 'x' { initial = 'A', go = { from = 'A', to = 'B' } }"

  it("a failed require does not hide from a decider what the next one gives", function()
    local box, problem = support.open("", { files = {
      ["rules/demo/policy.lua"] = "pcall(require, 'shama.broken') require 'shama.decider' require 'shama.db' return { " .. REST .. " }",
      ["lua/shama/broken.lua"] = "error('no')",
    } })
    assert.is_nil(box)
    assert.truthy(problem:find("rules/demo/policy.lua: a decider may use pure modules only, but shama.db is not", 1, true), problem)
  end)

  it("a failed require does not show the next module unfrozen", function()
    local box = assert(support.open("return policy.changed", { files = {
      ["rules/demo/policy.lua"] = "pcall(require, 'shama.broken') local json = require 'shama.json' "
        .. "return { changed = pcall(function() json.encode = 1 end), " .. REST .. " }",
      ["lua/shama/broken.lua"] = "error('no')",
    } }))
    assert.equal("false", box:run(1).body)
  end)

  it("a primitive that another module requires for a decider, later", function()
    local box, problem = support.open("", { files = {
      ["rules/demo/policy.lua"] = "require 'shama.decider' local helper = require 'shared.helper' return { helper = helper, " .. REST .. " }",
      ["rules/shared/helper.lua"] = "local db return { init = function() db = require 'shama.db' end }",
      ["rules/demo/zzz.lua"] = "return 1",
      ["rules/demo/service.lua"] = "local p = require 'demo.policy' p.helper.init() return { name = 'demo', needs = { 'db' } }",
    } })
    assert.is_nil(box)
    assert.truthy(problem:find("after the rules were loaded", 1, true), problem)
  end)

  it("a primitive that `needs` does not list", function()
    local box, problem = support.open("", { files = { ["rules/demo/policy.lua"] = "require 'shama.jwt' return { " .. REST .. " }" } })
    assert.is_nil(box)
    assert.truthy(problem:find('`needs` does not list "jwt"', 1, true), problem)
  end)
end)
