-- Memory in every shape, inside Lua and in C on its behalf. The hog is ended or refused with a reason, its traceback is logged, what it held is
-- collected, and neither the next request nor one that waited beside it pays for it.
local support = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "support.lua")
local assert_raises, value = support.assert_raises, support.value

-- Ended for memory, or (where the loop is slow) for time; refused is fine too for what a limit stops first.
local function assert_held(body, options)
  local reply, box = support.try(body, options)
  assert.truthy(reply.code == "MEMORY_EXCEEDED" or reply.code == "BUDGET_EXCEEDED", tostring(reply.code) .. reply.log)
  assert.truthy(reply.log:find("rules/demo/service.lua", 1, true), reply.log)
  assert.is_true(box:run(3).memory < 8 * 1048576)
  return reply
end

describe("memory hogs", function()
  local HOGS = {
    { "a growing list", "local t = {} for i = 1, 1e9 do t[i] = i end" },
    { "a growing table of texts", "local t, s = {}, ('x'):rep(1000) for i = 1, 1e9 do t[#t + 1] = s .. i end" },
    { "doubling a text", "local s = 'x' while true do s = s .. s end" },
    { "doubling, caught", "local s = 'x' while true do pcall(function() s = s .. s end) end" },
    { "closures", "local t = {} for i = 1, 1e9 do t[i] = function() return i end end" },
    { "tables in tables", "local t = {} while true do t = { t } end" },
    { "sparse tables", "local t = {} for i = 1, 1e9 do t[i * 1000003] = true end" },
    { "keys of all texts", "local t = {} for i = 1, 1e9 do t['k' .. i] = true end" },
    { "decimals", "local t, d = {}, decimal('1.00') for i = 1, 1e9 do t[i] = d + i end" },
    { "JSON documents", "local t, s = {}, json.encode { ('x'):rep(100000) } for i = 1, 1e9 do t[i] = json.decode(s) end" },
    { "refusals", "local t = {} for i = 1, 1e9 do t[i] = refusal('NOPE', { i = i }) end" },
    { "transactions", "local t = {} for i = 1, 1e9 do db.tx(function(tx) t[i] = tx end) end" },
    { "string.rep in a loop", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000000 - i) end" },
    { "string.format in a loop", "local t, s = {}, ('x'):rep(100000) for i = 1, 1e9 do t[i] = string.format('%s%d', s, i) end" },
    { "upvalues of callbacks", "local t = {} ('x'):rep(60000):gsub('.', function(c) for i = 1, 1000 do t[#t + 1] = { c } end end)" },
    { "a metatable's cache", "local t = setmetatable({}, { __index = function(t, k) t[k] = { k } return t[k] end }) for i = 1, 1e9 do local _ = t[i] end" },
    { "schemas", "local t = {} for i = 1, 1e9 do t[i] = schema.string { max = i } end" },
  }
  for _, hog in ipairs(HOGS) do
    it(hog[1], function() assert_held(hog[2], { budget = { task_ms = 2000, slice_ms = 2000 } }) end)
  end

  it("while the rules load", function()
    local box, problem = support.open("", { files = { ["rules/demo/policy.lua"] = "local t = {} while true do t = { t } end" } })
    assert.is_nil(box)
    assert.truthy(problem:find("budget", 1, true) or problem:find("memory", 1, true), problem)
  end)

  it("garbage is no hog", function()
    assert.equal(1, value("for i = 1, 500 do local _ = ('x'):rep(100000 + i) end return 1", { budget = { task_ms = 2000, slice_ms = 2000 } }))
  end)

  it("one that waits is ended, not who asks for more beside it", function()
    local box = assert(support.open("local t = {} for i = 1, 75000 do t[i] = { i } end wait.here() return #t", {
      budget = { task_ms = 2000, slice_ms = 2000, memory_mb = 16 },
    }))
    local waiting = {}
    for i = 1, 8 do waiting[i] = box:run(1) end
    for _ = 1, 10 do support.assert_serves(box) end
    local _ = waiting
  end)

  it("one that catches its error is ended all the same", function()
    local reply = support.try("local t = {} local function grow() for i = 1, 1e9 do t[#t + 1] = { i } end end while true do pcall(grow) end",
      { budget = { task_ms = 2000, slice_ms = 2000 } })
    assert.equal("MEMORY_EXCEEDED", reply.code)
  end)
end)

describe("what is refused by its size", function()
  local LIMITS = {
    { "string.rep", "('x'):rep(1e9)", "string.rep: the result" },
    { "string.rep with a separator", "('x'):rep(1000, ('y'):rep(100000))", "string.rep: the result" },
    { "string.rep of nothing, endlessly", "(''):rep(1e15)", "string.rep: the result" },
    { "string.rep with a nan", "('x'):rep(1e308 * 10)", "string.rep: the result" },
    { "string.format of large texts", "string.format('%s%s', ('x'):rep(600000), ('x'):rep(600000))", "string.format: the result" },
    { "string.format with a width", "string.format('%99999d', 1)", "invalid" },
    { "string.format of what __tostring makes", "string.format('%s', setmetatable({}, { __tostring = function() return ('x'):rep(1000000) .. ('x'):rep(1000000) end }))",
      "string.format: the result" },
    { "table.concat", "local t, s = {}, ('x'):rep(100000) for i = 1, 20 do t[i] = s end table.concat(t)", "table.concat: the result" },
    { "table.concat with fractions", "local t, s = {}, ('x'):rep(100000) for i = 1, 20 do t[i] = s end table.concat(t, '', 1.5)", "table.concat: the result" },
    { "table.concat from afar", "table.concat({}, ',', -1e9, 1e9)", "table.concat: the result" },
    { "unpack", "unpack({}, 1, 1e9)", "unpack: at most" },
    { "unpack from nan", "unpack({}, 0 / 0, 5)", "unpack: at most" },
    { "unpack over everything", "unpack({}, -1e15, 1e15)", "unpack: at most" },
    { "string.byte", "('x'):rep(1000000):byte(1, -1)", "" },
    { "a sort", "local t = {} for i = 1, 100001 do t[i] = i end table.sort(t)", "table.sort: a list of at most" },
    { "an insert at the front", "local t = {} for i = 1, 20000 do t[i] = i end table.insert(t, 1, 0)", "table.insert: it would move" },
    { "a remove at the front", "local t = {} for i = 1, 20000 do t[i] = i end table.remove(t, 1)", "table.remove: it would move" },
    { "upper case", "local s = ('x'):rep(1000000) s = s .. s s:upper()", "string.upper: the text is longer" },
    { "JSON nesting", "json.encode(json.decode(('['):rep(31) .. (']'):rep(31)))  local t = {} for _ = 1, 40 do t = { t } end json.encode(t)", "nested too deeply" },
    { "a JSON bomb of shared tables", "local t = { ('x'):rep(1000) } for _ = 1, 25 do t = { t, t } end json.encode(t)", "too large" },
    { "a JSON bomb of empty tables", "local t = {} for _ = 1, 30 do t = { t, t, t, t } end json.encode(t)", "too large" },
    { "a JSON text", "json.decode(('x'):rep(1000000) .. ('x'):rep(100000))", "longer than 1 MiB" },
    { "a decimal", "return decimal(('9'):rep(100))", "does not fit" },
    { "a power tower of decimals", "local d = decimal('9') while true do d = d * d end", "does not fit" },
    { "a hash", "local s = ('x'):rep(1000000) crypto.sha256(s .. s)", "longer than 1 MiB" },
    { "a database parameter of shared texts", "local s, t = ('x'):rep(1000000), {} for i = 1, 1000 do t[i] = s end db.query('SELECT $1', t)",
      "more bytes to the database" },
    { "statements that wait", "db.tx(function(tx) for i = 1, 100 do tx:write('SELECT $1', i) end end)", "at most 64 statements" },
    { "bytes that wait", "local s = ('x'):rep(1000000) db.tx(function(tx) for i = 1, 60 do tx:write('SELECT $1', s) end end)", "more bytes to the database" },
    { "parameters", "db.query('SELECT 1', unpack({}, 1, 65))", "at most 64 parameters" },
    { "a list in a list in a parameter", "db.query('SELECT $1', { policy.list })", "a list cannot hold a list" },
    { "bytes that are no text", "db.query('SELECT $1', db.bytes {})", "db.bytes takes a text" },
    { "a PDF that holds itself", "local b = { type = 'columns' } b.columns = { { blocks = { b } } } pdf.render { blocks = { b } }", "" },
    { "a log message", "log.info(('x'):rep(2000))", "too long" },
  }
  for _, limit in ipairs(LIMITS) do
    it(limit[1], function()
      local reply = support.try(limit[2], { budget = { task_ms = 1000, slice_ms = 1000 } })
      assert.truthy(reply.status == 500 or reply.status == 503, tostring(reply.status))
      assert.truthy(reply.log:find(limit[3], 1, true) or reply.code == "BUDGET_EXCEEDED", reply.log)
    end)
  end

  it("an answer", function()
    local reply = support.try("local s = ('x'):rep(1000000) return { s, s }")
    assert.equal(503, reply.status)
    assert.equal("BUDGET_EXCEEDED", reply.code)
    assert.equal("", reply.body)
  end)
  it("an answer of shared tables", function()
    assert.equal("BUDGET_EXCEEDED", support.try("local t = { 1 } for _ = 1, 28 do t = { t, t } end return t").code)
  end)
  it("an answer of bytes", function()
    assert.equal("BUDGET_EXCEEDED", support.try("local s = ('x'):rep(1000000) return { __answer = true, status = 200, bytes = s .. s }").code)
  end)
  it("a flood of log lines", function()
    local reply = support.try("for i = 1, 5000 do log.info('line') end return 1")
    assert.equal(200, reply.status)
    local lines = select(2, reply.log:gsub("\n", "\n"))
    assert.is_true(lines <= 102, lines .. " lines")
    assert.truthy(reply.log:find("further lines are dropped", 1, true))
  end)
  it("statements", function()
    local reply = support.try("for _ = 1, 5 do message(db.query, 'SELECT 1') end db.query('SELECT 1')", { budget = { statements = 0 } })
    assert.equal(503, reply.status)
    assert.equal("BUDGET_EXCEEDED", reply.code)
  end)
end)
