-- What belongs to one request, used by another or after its end; host objects given to functions that expect others.
local support = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "support.lua")
local assert_raises = support.assert_raises

describe("handles", function()
  it("a transaction after its end", function()
    assert_raises("local kept db.tx(function(tx) kept = tx end) kept:query('SELECT 1')", "used after its end")
  end)
  it("a transaction after its end, by a later request", function()
    local box = assert(support.open("db.tx(function(tx) kept = tx end)", { second = "kept:write('SELECT 1')" }))
    box:run(1)
    assert.truthy(box:run(2).log:find("used after its end", 1, true))
    support.assert_serves(box)
  end)
  it("a transaction after a rollback", function() assert_raises("db.tx(function(tx) tx:rollback() tx:query('SELECT 1') end)", "used after its end") end)

  for _, method in ipairs { "tx:write('SELECT 1')", "tx:query('SELECT 1')", "tx:emit('x', 'y', {})", "tx:rollback()" } do
    it("another request's transaction: " .. method, function()
      local box = assert(support.open("return db.tx(function(tx) kept = tx wait.here() return 'mine' end)", { second = "local tx = kept " .. method }))
      local first = box:run(1)
      assert.truthy(first.parked)
      local reply = box:run(2)
      assert.equal(500, reply.status)
      assert.truthy(reply.log:find("used by another request than its own", 1, true), reply.log)
      assert.equal('"mine"', box:resume(first.parked).body)
      support.assert_serves(box)
    end)
  end

  for _, other in ipairs { "decimal('1')", "policy", "json.null", "{}", "'text'", "decimal", "nil" } do
    for _, method in ipairs { "rollback", "write", "query", "emit" } do
      it("tx." .. method .. " of " .. other, function()
        assert_raises("db.tx(function(tx) tx." .. method .. "(" .. other .. ", 'SELECT 1', 'x') end)", "a transaction was expected")
      end)
    end
    it("a decimal's method of " .. other, function()
      if other ~= "decimal('1')" then assert_raises("local d = decimal('1') d.round(" .. other .. ", 2, 'half_up')", "call it on a decimal") end
    end)
  end

  it("a task that never comes back", function()
    local box = assert(support.open("wait.here()"))
    for _ = 1, 20 do assert.truthy(box:run(1).parked) end
    support.assert_serves(box)
    collectgarbage()
  end)
end)

describe("statements that would change a shared connection", function()
  for _, sql in ipairs { "BEGIN", "begin", "COMMIT", "ROLLBACK", "SET search_path = x", "RESET ALL", "LISTEN x", "COPY t TO STDOUT", "DO $$ $$", "CALL p()",
    "DISCARD ALL", "PREPARE x AS SELECT 1", "  -- SELECT\n BEGIN", "/* SELECT */ END", "", "SELECTED" } do
    it((sql:gsub("\n", " ")), function()
      assert_raises(("db.query(%q)"):format(sql), "cannot begin with")
      assert_raises(("db.tx(function(tx) tx:write(%q) end)"):format(sql), "cannot begin with")
    end)
  end
end)

describe("answers", function()
  it("with a line break in the content type", function()
    assert_raises("return { __answer = true, status = 200, bytes = 'x', content_type = 'text/html\\r\\nX: y' }", "control character")
  end)
  it("with a header name that is none", function()
    assert_raises("return { __answer = true, status = 200, body = {}, headers = { ['X: y'] = 'z' } }", "a name that is none")
  end)
end)

describe("the manifest's budget", function()
  it("ends a task earlier", function()
    local reply = support.assert_ended("while true do end", "BUDGET_EXCEEDED",
      { manifest = "budget = { task_ms = 20 },", budget = { task_ms = 20000, slice_ms = 20000 } })
    assert.is_true(tonumber(reply.log:match('"lua_us":(%d+)')) < 5000000, reply.log) -- by the wall clock, on a busy machine
  end)
  it("is never above the operator's", function()
    local reply = support.assert_ended("while true do end", "BUDGET_EXCEEDED", { manifest = "budget = { task_ms = 100000, slice_ms = 100000 },", budget = { task_ms = 30 } })
    assert.is_true(tonumber(reply.log:match('"lua_us":(%d+)')) < 10000000, reply.log)
  end)
  it("limits memory", function()
    assert.equal("MEMORY_EXCEEDED", support.try("local t = {} for i = 1, 100000 do t[i] = { i } end return 1", { manifest = "budget = { memory_mb = 4 }," }).code)
  end)
  it("limits answers", function()
    assert.equal("BUDGET_EXCEEDED", support.try("return ('x'):rep(2000)", { manifest = "budget = { response_bytes = 1000 }," }).code)
  end)
  it("limits statements", function()
    assert.equal("BUDGET_EXCEEDED", support.try("return db.all({ 'SELECT 1' }, { 'SELECT 1' })", { manifest = "budget = { statements = 1 }," }).code)
  end)
  for _, wrong in ipairs { "{ task_ms = 0 }", "{ task_ms = 'x' }", "{ tasks_ms = 1 }", "5", "{ rows = 1.5 }" } do
    it("is refused: " .. wrong, function()
      local box, problem = support.open("", { manifest = "budget = " .. wrong .. "," })
      assert.is_nil(box)
      assert.truthy(problem:find("rules/demo/service.lua: budget", 1, true), problem)
    end)
  end
end)
