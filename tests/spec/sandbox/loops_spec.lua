-- Work that never ends, in every shape a rule can give it: each task is ended by its budget (or refused by a limit), the log has its traceback,
-- and the next request on the same state is served.
local support = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "support.lua")
local assert_ended, assert_raises, value = support.assert_ended, support.assert_raises, support.value

describe("endless loops", function()
  local LOOPS = {
    { "while", "while true do end" },
    { "repeat", "repeat until false" },
    { "goto", "::again:: goto again" },
    { "for with a step of nothing", "for _ = 1, math.huge, 0.0000001 do end" },
    { "pcall in a loop", "while true do pcall(function() while true do end end) end" },
    { "pcall of itself", "local function f() pcall(f) pcall(f) end f()" },
    { "nested pcall", "local function f(n) while true do if n > 0 then pcall(f, n - 1) end end end f(20)" },
    { "xpcall with an endless handler", "xpcall(error, function() while true do end end)" },
    { "xpcall in a loop", "while true do xpcall(function() while true do end end, function() while true do end end) end" },
    { "a caught error raised again and again", "local function f() local ok, e = pcall(error, 'x') return f(e) end f()" },
    { "tail calls", "local function f() return f() end return f()" },
    { "mutual tail calls", "local g local function f() return g() end function g() return f() end return f()" },
    { "recursion that catches its overflow", "local function f() return 1 + f() end while true do pcall(f) end" },
    { "an iterator that never ends", "for _ in function() return 1 end do end" },
    { "next over a table that is changed", "local t = { 1 } while true do for k in pairs(t) do t[k] = 1 end end" },
    { "__index", "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end" },
    { "__newindex", "local t = setmetatable({}, { __newindex = function(t, k, v) while true do end end }) t.x = 1" },
    { "__call", "local t t = setmetatable({}, { __call = function() return t() end }) t()" },
    { "__eq", "local m = { __eq = function() while true do end end } local _ = setmetatable({}, m) == setmetatable({}, m)" },
    { "__lt in a sort", "local m = { __lt = function() while true do end end } table.sort { setmetatable({}, m), setmetatable({}, m) }" },
    { "__concat", "local _ = 'a' .. setmetatable({}, { __concat = function() while true do end end })" },
    { "__unm", "local _ = -setmetatable({}, { __unm = function() while true do end end })" },
    { "__tostring", "tostring(setmetatable({}, { __tostring = function() while true do end end }))" },
    { "__tostring in string.format", "string.format('%s', setmetatable({}, { __tostring = function() while true do end end }))" },
    { "__tostring in the library", "text.format('{x}', { x = setmetatable({}, { __tostring = function() while true do end end }) })" },
    { "string.gsub callback", "while true do ('x'):gsub('.', function() while true do end end) end" },
    { "string.gsub callback that catches", "('xx'):gsub('.', function() while true do pcall(function() while true do end end) end end)" },
    { "string.gmatch", "while true do for _ in ('x'):gmatch('.') do end end" },
    { "sort comparator", "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end)" },
    { "sort in a loop", "local t = {} for i = 1, 50000 do t[i] = -i end while true do table.sort(t, function(a, b) return a < b end) end" },
    { "long C functions in a loop", "local s = ('x'):rep(1000000) while true do s:upper() s:reverse() end" },
    { "patterns in a loop", "local s = ('x'):rep(10000) while true do s:find('x*y') end" },
    { "hashes in a loop", "local s = ('x'):rep(1000000) while true do crypto.sha256(s) end" },
    { "JSON in a loop", "local t = {} for i = 1, 20000 do t[i] = i end while true do json.encode(t) end" },
    { "a loop in a decider's facts", "local facts = setmetatable({}, { __index = function() while true do end end }) ordered.keys { facts.x }" },
    { "writing to a transaction in a loop", "db.tx(function(tx) while true do pcall(tx.write, tx, 'SELECT 1') end end)" },
    { "rolling back in a loop", "while true do pcall(db.tx, function(tx) tx:rollback() end) end" },
    { "logging in a loop", "while true do log.info('x') end" },
  }
  for _, loop in ipairs(LOOPS) do
    it(loop[1], function() assert_ended(loop[2], "BUDGET_EXCEEDED") end)
  end

  it("while the rules load", function()
    local box, problem = support.open("", { files = { ["rules/demo/policy.lua"] = "while true do pcall(function() while true do end end) end" } })
    assert.is_nil(box)
    assert.truthy(problem:find("more than its budget", 1, true) and problem:find("rules/demo/policy.lua", 1, true), problem)
  end)
  it("many short tasks, none of them over", function()
    local box = assert(support.open("for _ = 1, 100000 do end return 1"))
    for _ = 1, 100 do assert.equal(200, box:run(1).status) end
  end)
  it("a task over its total, though no slice is", function()
    local box = assert(support.open("while true do for _ = 1, 1000000 do end wait.here() end", { budget = { slice_ms = 50, task_ms = 60 } }))
    local reply, turns = box:run(1), 0
    while reply.parked and turns < 1000 do
      reply, turns = box:resume(reply.parked), turns + 1
    end
    assert.equal("BUDGET_EXCEEDED", reply.code)
    support.assert_serves(box)
  end)
end)

describe("recursion that is refused by a limit", function()
  local LIMITS = {
    { "plain", "local function f() return 1 + f() end return f()", "stack overflow" },
    { "gsub in gsub", "local function f() return (('x'):gsub('.', f)) end return f()", "calls itself too deeply" },
    { "sort in sort", "local function f() table.sort({ 1, 2 }, f) end return f()", "calls itself too deeply" },
    { "tostring in __tostring", "local t t = setmetatable({}, { __tostring = function() return tostring(t) end }) return tostring(t)", "overflow" },
    { "a chain of __index", "local t = {} for _ = 1, 1000 do t = setmetatable({}, { __index = t }) end return t.x", "loop" },
    { "waiting in a comparator", "table.sort({ 1, 2 }, function() wait.here() end)", "not possible to wait here" },
    { "waiting in a gsub callback", "return (('x'):gsub('.', function() wait.here() end))", "not possible to wait here" },
  }
  for _, limit in ipairs(LIMITS) do
    it(limit[1], function() assert_raises(limit[2], limit[3]) end)
  end
end)

describe("patterns that would go back for years", function()
  local PATTERNS = {
    { "the classic", "('a'):rep(3000):find('.-.-.-.-b')" },
    { "greedy", "('a'):rep(3000):find('.*.*.*.*b')" },
    { "anchored", "('a'):rep(3000):find('^.-.-.-.-b')" },
    { "in classes", "('a'):rep(3000):match('%a*%w*[a-z]*[^b]*b')" },
    { "optional items on a short text", "('a'):rep(30):match(('a?'):rep(100) .. ('a'):rep(30))" },
    { "many repetitions on a short text", "('a'):rep(30):find(('.-'):rep(60) .. 'b')" },
    { "in gsub", "('a'):rep(3000):gsub('.-.-.-.-b', '')" },
    { "in gsub with a count", "('a'):rep(3000):gsub('.-.-.-.-b', '', 1)" },
    { "in gmatch", "for _ in ('a'):rep(3000):gmatch('.-.-.-.-b') do end" },
    { "back references", "('a'):rep(60000):find('(a*)(a*)%1%2b')" },
    { "balanced brackets", "('('):rep(60000):find('%b()')" },
    { "white space at the end of white space", "(' '):rep(60000):find('%s+$')" },
    { "after a frontier", "('a'):rep(3000):find('%f[%a]%a-%a-%a-%a-%d')" },
    { "behind a set with brackets", "(']'):rep(3000):find('[]]*[]]*[]]*[]]*x')" },
  }
  for _, pattern in ipairs(PATTERNS) do
    it(pattern[1], function() assert_raises(pattern[2], "may take too long") end)
  end
  it("a long text", function() assert_raises("('a'):rep(65537):find('b')", "longer than 65536 bytes") end)
  it("a long pattern", function() assert_raises("('a'):find(('a'):rep(257))", "longer than 256 bytes") end)
  it("but what people write is fine", function()
    local text = ("word=value; "):rep(500)
    assert.equal(500, value(([[return select(2, (%q):gsub("(%%w+)=(%%w+);%%s*", "%%1"))]]):format(text)))
    assert.same({ "a", "b c" }, value([[return { ("  a "):match("^%s*(.-)%s*$"), ("x = b c"):match("^(%w+)%s*=%s*(.*)$") and "b c" }]]))
    assert.equal("2026-11-24", value([[return ("at 2026-11-24T10:00"):match("%d%d%d%d%-%d%d%-%d%d")]]))
    assert.equal(100000, value([[return #(("a,"):rep(30000):sub(1, 60000):gsub(",", ";;")) + 10000]]))
  end)
end)
