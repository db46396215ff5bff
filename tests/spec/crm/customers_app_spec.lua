-- Proves the life of a customer through the application: what is created, changed and told to others, who sees it, and what happens when two change
-- it at once.
local json = require "shama.json"
local test = require "shama.test"

describe("customers", function()
  local app
  local count = 0

  local function create(more, as)
    count = count + 1
    local new = { kind = "COMPANY", name = "Empresa " .. count }
    for name, value in pairs(more or {}) do new[name] = value end
    return app:post("/api/v1/customers", { as = as or "SALES", json = new })
  end
  local function path(of, rest) return "/api/v1/customers/" .. of.id .. (rest or "") end

  setup(function() app = test.app() end)
  before_each(function() app:deliver() end)
  after_each(function() test.freeze() end)

  it("begin as leads, with what is known of them", function()
    test.freeze("2026-01-15T09:30:00.123456Z")
    local answer = create { name = "  Panadería Ñandú ", tax_id = "J-1", address = { city = "Caracas", country = "VE" } }
    local made = answer:expect(201)
    assert.same({ "LEAD", 1, "Panadería Ñandú", json.null }, { made.status, made.version, made.name, made.email })
    assert.equal("Caracas", made.address.city)
    assert.equal(path(made), answer.headers.Location)
    assert.same({ "customer.created" }, app:deliver())
    local is = app:get(path(made), { as = "ADMIN" }):expect(200)
    made.possible_duplicates = nil
    assert.same(made, is)
  end)

  it("are refused with every field that is wrong", function()
    local problem = create { kind = "CAT", name = "", email = "x", colour = "red" }:expect(400)
    local pointers = {}
    for _, one in ipairs(problem.errors) do pointers[one.pointer] = one.code end
    assert.is_string(pointers["/kind"])
    assert.is_string(pointers["/name"])
    assert.is_string(pointers["/email"])
    assert.equal("UNKNOWN_FIELD", pointers["/colour"])
    assert.same({}, app:deliver())
  end)

  it("may be the same as others", function()
    local first = create { name = "Gemelos", tax_id = "J-77", email = "twins@spec.example" }:expect(201)
    assert.same({}, first.possible_duplicates)
    local ids = {}
    for _, one in ipairs(create { name = "Otra", tax_id = "J-77" }:expect(201).possible_duplicates) do ids[one.id] = true end
    assert.is_true(ids[first.id])
    assert.equal(1, #create { name = "Aquella", email = "TWINS@spec.example" }:expect(201).possible_duplicates)
  end)

  it("become active and inactive, but not twice", function()
    local made = create():expect(201)
    assert.equal("ACTIVE", app:post(path(made, "/activate"), { as = "SALES" }):expect(200).status)
    app:post(path(made, "/activate"), { as = "SALES" }):expect(409, "CUSTOMER_STATUS")
    assert.equal("INACTIVE", app:post(path(made, "/deactivate"), { as = "SALES" }):expect(200).status)
    app:post(path(made, "/deactivate"), { as = "SALES" }):expect(409, "CUSTOMER_STATUS")
    assert.equal("ACTIVE", app:post(path(made, "/activate"), { as = "SALES" }):expect(200).status)
    assert.same({ "customer.created", "customer.updated", "customer.updated", "customer.updated" }, app:deliver())
  end)

  it("are changed by one at a time", function()
    local made = create():expect(201)
    local seen = app:get(path(made), { as = "SALES" })
    local etag = seen.headers.ETag
    assert.equal(304, app:get(path(made), { as = "SALES", headers = { ["If-None-Match"] = etag } }).status)
    app:patch(path(made), { as = "SALES", json = { phone = "1" }, headers = { ["If-Match"] = etag } }):expect(200)
    app:patch(path(made), { as = "ADMIN", json = { phone = "2" }, headers = { ["If-Match"] = etag } }):expect(412, "VERSION_MISMATCH")
    local is = app:patch(path(made), { as = "ADMIN", json = { phone = json.null } }):expect(200)
    assert.same({ json.null, 3 }, { is.phone, is.version })
    assert.equal(400, app:patch(path(made), { as = "ADMIN", json = { status = "ACTIVE" } }).status)
  end)

  it("are followed by their quotations when they change their name", function()
    local made = create { name = "Antes" }:expect(201)
    local product = app:post("/api/v1/products", { as = "ADMIN", json = { sku = "CRM-1", name = "x", unit = "x", price = "1.00" } }):expect(201)
    local new = { customer_id = made.id, items = { { product_id = product.id, quantity = 1 } } }
    local q = app:post("/api/v1/quotations", { as = "SALES", json = new }):expect(201)
    assert.equal("Antes", q.customer_name)
    app:patch(path(made), { as = "SALES", json = { name = "Después" } }):expect(200)
    app:deliver()
    assert.equal("Después", app:get("/api/v1/quotations/" .. q.id, { as = "SALES" }):expect(200).customer_name)
  end)

  it("see themselves, and nobody else", function()
    local other, own = create():expect(201), app:customer()
    app:get(path(other), { as = "CUSTOMER" }):expect(404, "CUSTOMER_NOT_FOUND")
    app:get(path(other, "/contacts"), { as = "CUSTOMER" }):expect(404)
    app:get(path(other, "/interactions"), { as = "CUSTOMER" }):expect(404)
    assert.equal(own, app:get("/api/v1/customers/" .. own, { as = "CUSTOMER" }):expect(200).id)
    local listed = app:get("/api/v1/customers", { as = "CUSTOMER" }):expect(200).data
    assert.same({ own }, { listed[1].id, listed[2] and listed[2].id })
    app:patch("/api/v1/customers/" .. own, { as = "CUSTOMER", json = { name = "x" } }):expect(403)
  end)

  it("have contacts, one of them the first", function()
    local made = create():expect(201)
    local contacts = path(made, "/contacts")
    app:post(contacts, { as = "SALES", json = { name = "Ana", is_primary = true } }):expect(201)
    app:post(contacts, { as = "SALES", json = { name = "Luis", is_primary = true } }):expect(201)
    local primary = {}
    for _, contact in ipairs(app:get(contacts, { as = "SALES" }):expect(200).data) do
      if contact.is_primary then primary[#primary + 1] = contact.name end
    end
    assert.same({ "Luis" }, primary)
    app:post("/api/v1/customers/" .. app:user("SALES") .. "/contacts", { as = "SALES", json = { name = "x" } }):expect(404, "CUSTOMER_NOT_FOUND")
  end)

  it("have a history, newest first, page by page", function()
    local made = create():expect(201)
    local notes = path(made, "/interactions")
    for day = 1, 5 do
      local note = { kind = "CALL", subject = "Llamada " .. day, occurred_at = ("2026-01-%02dT10:00:00Z"):format(day) }
      assert.equal(app:user("SALES"), app:post(notes, { as = "SALES", json = note }):expect(201).created_by)
    end
    local seen, query = {}, { limit = 2 }
    repeat
      local page = app:get(notes, { as = "SALES", query = query }):expect(200)
      for _, one in ipairs(page.data) do seen[#seen + 1] = one.subject:match("%d") end
      query.cursor = page.next_cursor
    until page.next_cursor == json.null
    assert.equal("54321", table.concat(seen))
    app:post(notes, { as = "SALES", json = { kind = "SYSTEM", subject = "x" } }):expect(400)
    app:get(notes, { as = "SALES", query = { cursor = "x" } }):expect(400)
  end)

  it("are found by what one remembers", function()
    local made = create { name = "Ferretería Muñoz", phone = "+58 212 5550199" }:expect(201)
    for _, search in ipairs { "munoz", "FERRETERÍA", "5550199" } do
      local found = app:get("/api/v1/customers", { as = "SALES", query = { search = search, status = "LEAD" } }):expect(200).data
      assert.equal(made.id, found[1] and found[1].id, search)
    end
    assert.same({}, app:get("/api/v1/customers", { as = "SALES", query = { search = "100%_" } }):expect(200).data)
  end)
end)
