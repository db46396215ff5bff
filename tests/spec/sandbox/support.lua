-- A service made of one handler, in a vm of its own, and what must be true after whatever the handler tried.
local assert = require "luassert"
local sandbox = require "shama.test.sandbox"

local support = {}

local SERVICE = [[
local json, decimal, refusal, schema = require "shama.json", require "shama.decimal", require "shama.refusal", require "shama.schema"
local machine, text, ordered, cursor = require "shama.machine", require "shama.text", require "shama.ordered", require "shama.cursor"
local db, log, crypto, pdf, wait, clock = require "shama.db", require "shama.log", require "shama.crypto", require "shama.pdf", require "shama.wait",
  require "shama.clock"
local policy = require "demo.policy"
local kept -- what outlives a request
local function message(f, ...) return select(2, pcall(f, ...)) end
local function run() %s end
local function second() %s end
-- The next request: everything that the first may have poisoned still works.
local function fine()
  local order = { 3, 1, 2 }
  table.sort(order)
  return table.concat(order) .. ("a-b"):gsub("-", "+") .. json.encode(json.array { 1 }) .. tostring(decimal("1.50") + 1) .. policy.limit
    .. #policy.list .. tostring(refusal("NOPE").code) .. policy.life:next("A", "go") .. string.format("%%s", "x") .. math.floor(1.5)
end
return {
  name = "demo", needs = { "clock", "crypto", "db", "log", "pdf", "wait" }, publishes = {}, refusals = { NOPE = 409 }, %s
  routes = {
    { "GET", "/run", run, public = true }, { "GET", "/second", second, public = true }, { "GET", "/fine", fine, public = true },
  },
}
]]

local POLICY = [[
local machine = require "shama.machine"
return {
  limit = 10, list = { 1, 2, 3 }, nested = { deep = { value = 1 } }, life = machine "thing" { initial = "A", go = { from = "A", to = "B" } },
  double = function(x) return x * 2 end, inherited = setmetatable({}, { __index = { base = { 1 } } }),
}
]]

local FINE = [["123a+b[1]2.50103NOPEBx1"]]

-- options: { second = body of another route, files = { [name] = text }, budget = {}, manifest = "more of it" }
function support.open(body, options)
  options = options or {}
  local files = {
    ["rules/demo/service.lua"] = SERVICE:format(body, options.second or "", options.manifest or ""), ["rules/demo/policy.lua"] = POLICY,
    ["rules/demo/messages/es.lua"] = "return { NOPE = 'no {why}' }", ["rules/demo/messages/en.lua"] = "return { NOPE = 'no {why}' }",
  }
  for name, source in pairs(options.files or {}) do files[name] = source end
  return sandbox.open { files = files, budget = options.budget }
end

-- Whoever comes next is served, and nothing was changed under it.
function support.assert_serves(box)
  local reply = box:run(3)
  assert.equal(FINE, reply.body, reply.log)
  assert.equal(200, reply.status)
end

-- Runs the body; then the next request. Returns the reply.
function support.try(body, options)
  local box, problem = support.open(body, options)
  assert(box, problem)
  local reply = box:run(1)
  support.assert_serves(box)
  return reply, box
end

-- The body's answer, decoded.
function support.value(body, options)
  local reply = support.try(body, options)
  assert.equal(200, reply.status, reply.log)
  return require("shama.json").decode(reply.body)
end

-- The body raises, and the log shows what and where.
function support.assert_raises(body, pattern, options)
  local reply = support.try(body, options)
  assert.equal(500, reply.status)
  assert.equal("INTERNAL", reply.code)
  assert.truthy(reply.log:find(pattern), reply.log)
  return reply
end

-- The body is ended: 503, with the rule's traceback in the log.
function support.assert_ended(body, code, options)
  local reply = support.try(body, options)
  assert.equal(503, reply.status, reply.log)
  assert.equal(code, reply.code)
  assert.truthy(reply.log:find("rules/demo/service.lua", 1, true), reply.log)
  return reply
end

return support
