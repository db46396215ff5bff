-- The pure library of the rules: what each module promises in docs/reference/lua-api.md, and that misuse is named.
local cursor = require "shama.cursor"
local decider = require "shama.decider"
local http = require "shama.http"
local json = require "shama.json"
local machine = require "shama.machine"
local ordered = require "shama.ordered"
local refusal = require "shama.refusal"
local s = require "shama.schema"
local text = require "shama.text"

describe("shama.refusal", function()
  it("is a value, and can be raised", function()
    local no = refusal("NOT_TODAY", { day = 1 })
    assert.is_true(refusal.is(no))
    assert.is_false(refusal.is("NOT_TODAY"))
    local ok, raised = pcall(refusal.raise, "NOT_TODAY")
    assert.is_false(ok)
    assert.equal("NOT_TODAY", raised.code)
    assert.has_error(function() refusal("not a code") end)
  end)

  it("check passes results and raises refusals", function()
    assert.equal(7, refusal.check(7))
    local no = refusal("NOT_TODAY")
    local ok, raised = pcall(refusal.check, nil, no)
    assert.is_false(ok)
    assert.equal(no, raised)
    assert.has_error(function() refusal.check(nil) end)
  end)
end)

describe("shama.schema", function()
  it("makes plain data", function()
    assert.same({ type = "integer", min = 1, required = true }, s.integer { min = 1, required = true })
    local object = s.object { id = s.uuid(), tags = s.array { of = s.string { max = 3 }, max = 2 } }
    assert.equal("uuid", object.fields.id.type)
    assert.equal("string", object.fields.tags.of.type)
  end)

  it("adds limit and cursor to a page", function()
    local page = s.page { status = s.string() }
    assert.equal(200, page.fields.limit.max)
    assert.equal(50, page.fields.limit.default)
    assert.equal("string", page.fields.cursor.type)
    assert.equal("string", page.fields.status.type)
  end)

  it("names mistakes", function()
    assert.has_error(function() s.string { length = 3 } end)
    assert.has_error(function() s.money { min = 0.01 } end)
    assert.has_error(function() s.integer { min = 1.5 } end)
    assert.has_error(function() s.array {} end)
    assert.has_error(function() s.object { name = "text" } end)
  end)
end)

describe("shama.machine and shama.decider", function()
  local life = machine "door" { initial = "OPEN", close = { from = "OPEN", to = "CLOSED", otherwise = "NOT_OPEN" }, open = { from = { "CLOSED" },
    to = "OPEN" } }
  local door = decider "door" {
    life = life,
    close = function(_, command) if command.gently then return { events = { "closed" } } end return nil, refusal("TOO_LOUD") end,
    open = function() return { changes = { by = "hand" } } end,
    paint = function(state) return { changes = { status_was = state.status } } end,
  }

  it("follows its edges and no others", function()
    assert.equal("CLOSED", life:next("OPEN", "close"))
    assert.equal("NOT_OPEN", select(2, life:next("CLOSED", "close")).code)
    assert.equal("INVALID_TRANSITION", select(2, life:next("OPEN", "open")).code)
    assert.has_error(function() life:next("OPEN", "slam") end)
    assert.same({ { action = "close", from = "OPEN", to = "CLOSED" }, { action = "open", from = "CLOSED", to = "OPEN" } }, life:transitions())
    assert.has_error(function() machine "x" { initial = "A", go = { from = "A", too = "B" } } end)
  end)

  it("asks the machine first and sets the status", function()
    assert.same({ events = { "closed" }, changes = { status = "CLOSED" } }, door.decide({ status = "OPEN" }, { name = "close", gently = true }))
    assert.equal("NOT_OPEN", select(2, door.decide({ status = "CLOSED" }, { name = "close", gently = true })).code)
    assert.equal("TOO_LOUD", select(2, door.decide({ status = "OPEN" }, { name = "close" })).code)
    assert.same({ changes = { status_was = "OPEN" } }, door.decide({ status = "OPEN" }, { name = "paint" }))
    assert.has_error(function() door.decide({ status = "OPEN" }, { name = "kick" }) end)
  end)
end)

describe("shama.ordered", function()
  it("walks keys in order", function()
    local seen = {}
    for key, value in ordered.pairs { b = 2, a = 1, [3] = "x", [1] = "y" } do seen[#seen + 1] = tostring(key) .. "=" .. tostring(value) end
    assert.same({ "1=y", "3=x", "a=1", "b=2" }, seen)
  end)
end)

describe("shama.cursor", function()
  it("gives back what it was given, for every length", function()
    for n = 0, 40 do
      local values = { ("á"):rep(n), n }
      local encoded = cursor.encode(values)
      assert.is_truthy(encoded:find("^[%w_-]+$"))
      assert.same(values, cursor.decode(encoded, 2))
    end
  end)

  it("refuses anything else", function()
    for _, bad in ipairs { "", "!", "abc", "e30", "W10", cursor.encode { "a" }, cursor.encode { { "a" }, "b" }, ("A"):rep(600) } do
      local values, no = cursor.decode(bad, 2)
      assert.is_nil(values)
      assert.equal("BAD_CURSOR", no.code)
      assert.equal(400, no.status)
    end
  end)
end)

describe("shama.json", function()
  it("makes lists with room, which are lists while they are empty, too", function()
    local list = json.array(3)
    assert.equal("[]", json.encode(list))
    list[1] = "a"
    assert.equal('["a"]', json.encode(list))
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[]", json.encode(json.array(1e9)))
    assert.has_error(function() json.array(-1) end)
    assert.has_error(function() json.array("3") end)
  end)

  it("writes a shape: its members, in its order, null where there is nothing", function()
    local shape = { "b", "a", { "items", { "n", "id" } }, "c" }
    local value = { a = 1, b = "x", other = true, items = { { id = 1 }, { n = 2, id = 2, more = {} } } }
    assert.equal('{"b":"x","a":1,"items":[{"n":null,"id":1},{"n":2,"id":2}],"c":null}', json.encode(json.shaped(value, shape)))
    assert.equal('[{"b":null,"a":null,"items":null,"c":null}]', json.encode { json.shaped({}, shape) })
    assert.equal('{"items":[]}', json.encode(json.shaped({ items = {} }, { { "items", shape } })))
  end)

  it("writes the shaped table as it is by then", function()
    local value = { a = 1 }
    local shaped = json.shaped(value, { "a" })
    value.a = 2
    assert.equal('{"a":2}', json.encode(shaped))
  end)

  it("refuses what is no shape, and what has another", function()
    assert.has_error(function() json.shaped({}) end)
    assert.has_error(function() json.shaped(1, {}) end)
    for _, shape in ipairs { { true }, { {} }, { { "items" } }, { { "items", "id" } } } do
      assert.has_error(function() json.encode(json.shaped({ items = { {} } }, shape)) end)
    end
    assert.error_matches(function() json.encode(json.shaped({ items = { 1 } }, { { "items", { "id" } } })) end, "items%[1%]: only a table")
    assert.error_matches(function() json.encode(json.shaped({ items = 1 }, { { "items", { "id" } } })) end, "items: a list of tables")
    assert.error_matches(function() json.encode(json.shaped({ items = { { id = print } } }, { { "items", { "id" } } })) end, "items%[1%]%.id: a function")
  end)

  it("a shape that contains itself ends", function()
    local shape, value = {}, {}
    shape[1], value.items = { "items", shape }, { value }
    assert.error_matches(function() json.encode(json.shaped(value, shape)) end, "nested too deeply")
  end)

  it("drops what is longer than it may be, and says so", function()
    assert.equal('[{"a":"1234"},1]', json.encode { json.at_most({ a = "1234" }, 12), 1 })
    assert.equal('[{"dropped_bytes":12},1]', json.encode { json.at_most({ a = "1234" }, 11), 1 })
    assert.has_error(function() json.at_most({}) end)
    assert.has_error(function() json.encode(json.at_most({ print }, 1)) end)
  end)

  it("escapes a byte wherever it stands in a text", function()
    for length = 1, 40 do
      for at = 1, length do
        for raw, escaped in pairs { ['"'] = '\\"', ["\\"] = "\\\\", ["\1"] = "\\u0001", ["\127"] = "\\u007f", ["ñ"] = "ñ" } do
          local before, after = ("a"):rep(at - 1), ("~"):rep(length - at)
          assert.equal('"' .. before .. escaped .. after .. '"', json.encode(before .. raw .. after))
        end
        assert.has_error(function() json.encode(("a"):rep(at - 1) .. "\128" .. ("a"):rep(length - at)) end)
      end
    end
  end)
end)

describe("shama.text", function()
  it("trims, folds, formats", function()
    assert.equal("a b", text.trim("  a b\n"))
    assert.equal("nandu el pinguino", text.fold("Ñandú EL Pingüino"))
    assert.equal("a € b", text.fold("A € B"))
    assert.equal("at most 10 of {what}", text.format("at most {limit} of {what}", { limit = 10 }))
    assert.equal("50\\% \\_x\\\\", text.like("50% _x\\"))
  end)
end)

describe("shama.http", function()
  it("makes answers", function()
    assert.same({ __answer = true, status = 201, body = { version = 1 }, headers = { Location = "/x", ETag = "\"1\"" } },
      http.created({ version = 1 }, "/x"))
    assert.equal("\"2\"", http.created(json.shaped({ version = 1 }, { "version" }), "/x", { etag = 2 }).headers.ETag)
    assert.same({ ETag = "\"4\"" }, http.ok({}, { etag = 4 }).headers)
    assert.equal(204, http.no_content().status)
    assert.equal("inline; filename=\"a_b.pdf\"", http.bytes("application/pdf", "x", "a\"b.pdf").headers["Content-Disposition"])
  end)

  it("pages: a short page is the last", function()
    local key = function(row) return { row.at, row.id } end
    local last = http.page({ { at = "t", id = "1" } }, 2, key)
    assert.equal(json.null, last.body.next_cursor)
    assert.is_nil(last.headers)
    local full = http.page({ { at = "t", id = "1" }, { at = "u", id = "2" } }, 2, key, { limit = 2, search = "a b&c" })
    assert.same({ "u", "2" }, cursor.decode(full.body.next_cursor))
    assert.equal("<?cursor=" .. full.body.next_cursor .. "&limit=2&search=a%20b%26c>; rel=\"next\"", full.headers.Link)
  end)
end)
