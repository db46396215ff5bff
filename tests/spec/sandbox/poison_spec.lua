-- Changing what others use: shared tables, metatables, the string library, the metatables of host objects; and learning where things lie in memory.
-- After each attempt the next request finds everything as it was (support.assert_serves).
local support = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "support.lua")
local assert_raises, value = support.assert_raises, support.value

describe("poisoning", function()
  local ATTEMPTS = {
    { "a module's field", "policy.limit = 99", "cannot be changed" },
    { "a module's nested table", "policy.nested.deep.value = 99", "cannot be changed" },
    { "what a module inherits through __index", "policy.inherited.base[1] = 99", "cannot be changed" },
    { "a module by rawset", "rawset(policy, 'limit', 99)", "table expected" },
    { "a module by table.insert", "table.insert(policy.list, 99)", "table expected" },
    { "a module by table.remove", "table.remove(policy.list)", "table expected" },
    { "a module by table.sort", "table.sort(policy.list, function(a, b) return a > b end)", "table expected" },
    { "a module by setmetatable", "setmetatable(policy, { __index = { limit = 99 } })", "table expected" },
    { "a module's machine", "policy.life.edges.go.to = 'C'", "cannot be changed" },
    { "a library module", "json.encode = function() return 'poisoned' end", "cannot be changed" },
    { "shama.decimal", "decimal.new = nil", "cannot be changed" },
    { "the string library", "string.format = nil", "cannot be changed" },
    { "the table library", "table.concat = nil", "cannot be changed" },
    { "the math library", "math.floor = nil", "cannot be changed" },
    { "the string metatable by getmetatable", "getmetatable('').__index = nil", "nil value" },
    { "the string metatable by setmetatable", "setmetatable('', {})", "table expected" },
    { "a method of all strings", "local s = 'x' s.gsub = nil", "string value" },
    { "the metatable of all JSON lists", "getmetatable(json.array {}).__index = function() return 1 end", "boolean value" },
    { "the metatable of decoded lists", "setmetatable(json.decode('[1]'), {})", "protected" },
    { "the metatable of refusals", "getmetatable(refusal('NOPE')).__index = {}", "boolean value" },
    { "the metatable of refusals, through the refusal", "refusal('NOPE').__index.code = 1", "nil value" },
    { "the metatable of database errors", "getmetatable(message(db.query, 'SELECT 1')).__tostring = nil", "boolean value", { budget = { statements = 0 } } },
    { "the metatable of database errors, through the error", "message(db.query, 'SELECT 1').__index.kind = 'unique'", "nil value",
      { budget = { statements = 0 } } },
    { "the metatable of machines", "getmetatable(machine 'x' { initial = 'A' }).__index = {}", "boolean value" },
    { "the methods of machines", "(machine 'x' { initial = 'A' }).__index.next = nil", "nil value" },
    { "the metatable of decimals", "getmetatable(decimal('1')).__add = nil", "nil value" },
    { "the metatable of a module", "getmetatable(policy).__index = nil", "nil value" },
    { "a decimal's methods", "decimal('1').round = nil", "userdata value" },
  }
  for _, attempt in ipairs(ATTEMPTS) do
    it(attempt[1], function() assert_raises(attempt[2], attempt[3], attempt[4]) end)
  end

  it("the table behind pairs", function()
    assert.is_false(value("local _, list = pairs(policy) return (pcall(function() list.limit = 99 end))"))
    assert.equal("nil", value("local step, list = pairs(policy) local key = step(list) return tostring((pcall(rawset, key, 'x', 1)) or nil)"))
  end)
  it("the tables that pairs, next, ipairs and unpack hand out", function()
    assert.same({ false, false, false, false }, value([[
      local tries = {}
      local function try(found) tries[#tries + 1] = (pcall(function() found.value = 99 end)) end
      for _, v in pairs(policy.nested) do try(v) end
      local _, first = next(policy.nested) try(first)
      local _, packed = pcall(unpack, { policy.nested.deep }) try(packed)
      try(rawget(policy.nested, "deep"))
      return tries]]))
  end)
  it("an answer that is a module", function() -- encoded, not changed
    assert.equal(1, value("return policy.nested").deep.value)
  end)
end)

describe("addresses", function()
  local SHOWN = { "print or pcall", "{}", "function() end", "policy", "json.null", "decimal", "setmetatable({}, {})", "refusal('NOPE')", "run_me" }
  for _, what in ipairs(SHOWN) do
    it("of " .. what, function()
      local shown = value(([[
        local run_me = function() end
        local value = select(2, pcall(function() return %s end))
        local format = message(string.format, "%%s %%q", value, tostring(value)) .. tostring(message(string.format, "%%d", value))
        return tostring(value) .. format .. text.format("{x}", { x = value }) .. tostring(message(error, tostring(value)))
          .. tostring(message(function() return value + 1 end)) .. tostring(message(function() return value.x.y.z() end))
          .. tostring(message(function() return ("x"):rep(value) end)) .. tostring(message(setmetatable, 1, value))]]):format(what))
      assert.is_nil(shown:find("0x", 1, true), shown)
    end)
  end
  it("by %p", function() assert_raises("return string.format('%p', {})", "%%p is not available") end)
  it("by %p with flags", function() assert_raises("return string.format('%%%-20.10p', {})", "%%p is not available") end)
  it("of an error object in the log", function()
    local reply = support.try("error({})")
    assert.equal("INTERNAL", reply.code)
    assert.is_nil(reply.log:find('"error":"[^"]*0x'), reply.log)
  end)
  it("by a __tostring that gives a table", function() assert.equal("table", value("return tostring(setmetatable({}, { __tostring = function() return {} end }))")) end)
  it("by concat of a function", function() assert_raises("return 'x' .. run", "") end)
  it("as JSON", function() assert.truthy(value("return message(json.encode, { f = function() end })"):find("cannot be written", 1, true)) end)
end)

describe("hostile errors and answers", function()
  local loop = "function() while true do end end"
  it("an error object with an endless __tostring", function() assert_raises("error(setmetatable({}, { __tostring = " .. loop .. " }))", "table value was raised") end)
  it("an error object with an endless __index", function() assert_raises("error(setmetatable({}, { __index = " .. loop .. " }))", "table value was raised") end)
  it("a refusal with an endless __index", function()
    local reply = support.try("error(setmetatable({ __refusal = true }, { __index = " .. loop .. " }))")
    assert.equal(500, reply.status)
  end)
  it("a refusal whose params loop", function()
    local reply = support.try("error(refusal('NOPE', setmetatable({}, { __index = " .. loop .. " })))")
    assert.equal(409, reply.status)
  end)
  it("a refusal whose param has an endless __tostring", function()
    local reply = support.try("error(refusal('NOPE', { why = setmetatable({}, { __tostring = " .. loop .. " }) }))")
    assert.equal(409, reply.status)
    assert.equal("no {why}", reply.detail)
  end)
  it("a refusal whose param is a module with a __tostring", function()
    local reply = support.try("error(refusal('NOPE', { why = policy.shown }))", { files = { ["rules/demo/policy.lua"] = [[
      local machine = require "shama.machine"
      return { limit = 10, list = { 1, 2, 3 }, life = machine "x" { initial = "A", go = { from = "A", to = "B" } },
        shown = setmetatable({}, { __tostring = function() while true do end end }) }]] } })
    assert.equal(409, reply.status)
    assert.equal("no {why}", reply.detail)
  end)
  it("an answer with an endless __index", function() assert.equal(500, support.try("return setmetatable({ __answer = true, status = 99 }, { __index = " .. loop .. " })").status) end)
  it("an answer whose body has metamethods", function() assert.equal("{}", support.try("return setmetatable({}, { __index = " .. loop .. ", __pairs = " .. loop .. " })").body) end)
  it("an answer that contains itself", function() assert_raises("local t = {} t.t = t return t", "nested too deeply") end)
  it("an answer header with a line break", function() assert_raises("return { __answer = true, status = 200, body = {}, headers = { X = 'a\\r\\nSet-Cookie: b' } }", "control character") end)
  it("a log line with a line break", function()
    local reply = support.try([[log.info("a\n{\"level\":\"error\"}", { x = "\n" }) return 1]])
    assert.equal(2, select(2, reply.log:gsub("\n", "\n")) + 1, reply.log)
  end)
  it("an error in an xpcall handler", function() assert_raises("xpcall(error, function() error('again') end)", "again") end)
  it("error with a level out of the stack", function() assert_raises("error('deep', 1000)", "deep") end)
end)
