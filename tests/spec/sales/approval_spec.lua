-- Proves the core of the story through the application: a quotation is submitted and approved at the prices of that moment, its event reduces the
-- stock once and makes the lead a customer, and where the stock is not there the sale is undone and says why. With a clock that stands still.
local json = require "shama.json"
local test = require "shama.test"

local NOW = "2026-01-15T09:30:00Z"
local SELLER, ADMIN, KEEPER = "SALES", "ADMIN", "INVENTORY"

describe("approval", function()
  local app, drill, coffee, customer
  local numbers = 0

  local function product(name, price, stock)
    numbers = numbers + 1
    local new = { sku = "SKU-" .. numbers, name = name, unit = "pieza", price = price, tax_category = "exempt" }
    local made = app:post("/api/v1/products", { as = ADMIN, json = new }):expect(201)
    if stock > 0 then
      app:post("/api/v1/products/" .. made.id .. "/stock-movements", { as = KEEPER, json = { kind = "RECEIPT", quantity = stock } }):expect(201)
    end
    return made
  end

  local function on_hand(of) return app:get("/api/v1/products/" .. of.id, { as = KEEPER }):expect(200).stock_on_hand end

  local function quotation(lines, more)
    local new = { customer_id = customer.id, items = {} }
    for i, line in ipairs(lines) do new.items[i] = { product_id = line[1].id, quantity = line[2] } end
    for name, value in pairs(more or {}) do new[name] = value end
    return app:post("/api/v1/quotations", { as = SELLER, json = new }):expect(201)
  end

  local function act(q, action, options)
    options = options or {}
    options.as = options.as or SELLER
    return app:post("/api/v1/quotations/" .. q.id .. "/" .. action, options)
  end

  local function read(q) return app:get("/api/v1/quotations/" .. q.id, { as = SELLER }):expect(200) end

  local function sold(lines, more)
    local q = quotation(lines, more)
    act(q, "submit"):expect(200)
    return act(q, "approve"):expect(200)
  end

  setup(function() app = test.app() end)
  before_each(function()
    test.freeze(NOW)
    app:deliver() -- what the test before left
    drill, coffee = product("Taladro", "10.00", 10), product("Café molido", "19.99", 10)
    customer = app:post("/api/v1/customers", { as = SELLER, json = { kind = "COMPANY", name = "Panadería Ñandú" } }):expect(201)
    app:deliver()
  end)
  after_each(function() test.freeze() end)

  it("sells at the prices of the moment, and says when", function()
    local q = quotation({ { drill, 2 }, { coffee, 3 } })
    assert.equal(json.null, q.number)
    assert.equal("79.97", q.total_amount)
    local submitted = act(q, "submit"):expect(200)
    assert.equal("PENDING", submitted.status)
    assert.matches("^COT%-2026%-%d%d%d%d%d%d$", submitted.number)
    app:post("/api/v1/products/" .. drill.id .. "/price", { as = ADMIN, json = { price = "10.50" } }):expect(200)
    assert.equal("10.00", read(q).items[1].unit_price)
    act(q, "approve"):expect(200)
    local is = read(q)
    assert.equal("SOLD", is.status)
    assert.same({ "10.50", "19.99" }, { is.items[1].unit_price_snapshot, is.items[2].unit_price_snapshot })
    assert.equal("10.00", is.items[1].unit_price)
    assert.equal("80.97", is.total_amount)
    assert.equal("2026-01-15T09:30:00", is.sold_at:sub(1, 19))
  end)

  it("is for what is PENDING, in both languages", function()
    local q = quotation({ { drill, 1 } })
    assert.equal("Solo cotizaciones PENDING pueden aprobarse", act(q, "approve"):expect(409, "QUOTATION_NOT_PENDING").detail)
    local english = act(q, "approve", { language = "en" }):expect(409, "QUOTATION_NOT_PENDING")
    assert.not_equal("Solo cotizaciones PENDING pueden aprobarse", english.detail)
    act(q, "submit"):expect(200)
    act(q, "approve"):expect(200)
    act(q, "approve"):expect(409, "QUOTATION_NOT_PENDING")
  end)

  it("reduces the stock and makes the lead a customer, once the event is there", function()
    local q = sold { { drill, 2 }, { coffee, 3 } }
    assert.equal(10, on_hand(drill))
    assert.same({ "quotation.created", "quotation.submitted", "quotation.approved", "stock.reduced" }, app:deliver())
    assert.same({ 8, 7 }, { on_hand(drill), on_hand(coffee) })
    assert.equal("ACTIVE", app:get("/api/v1/customers/" .. customer.id, { as = SELLER }):expect(200).status)
    local noted = app:get("/api/v1/customers/" .. customer.id .. "/interactions", { as = SELLER }):expect(200).data
    assert.equal(1, #noted)
    assert.equal("SYSTEM", noted[1].kind)
    assert.equal("SOLD", read(q).status)
    assert.same({}, app:deliver())
  end)

  it("changes nothing when the events come again, under their ids or under new ones", function()
    local q = sold { { drill, 4 } }
    app:deliver()
    app:deliver { again = true }
    app:deliver { again = true, new_ids = true }
    assert.equal(6, on_hand(drill))
    assert.equal("SOLD", read(q).status)
    local path = "/api/v1/customers/" .. customer.id .. "/interactions"
    assert.equal(1, #app:get(path, { as = SELLER }):expect(200).data)
  end)

  it("is undone where the stock is not there, with the reason, and no line leaves", function()
    local q = sold { { drill, 3 }, { coffee, 11 } }
    assert.equal("SOLD", read(q).status)
    local subjects = app:deliver()
    assert.same({ "quotation.approved", "stock.rejected", "quotation.cancelled" }, { subjects[3], subjects[4], subjects[5] })
    local is = read(q)
    assert.equal("CANCELLED", is.status)
    assert.matches("Café molido %(10/11%)", is.cancel_reason)
    assert.is_nil(is.cancel_reason:find("Taladro", 1, true))
    assert.same({ 10, 10 }, { on_hand(drill), on_hand(coffee) })
    local noted = app:get("/api/v1/customers/" .. customer.id .. "/interactions", { as = SELLER }):expect(200).data
    assert.equal(2, #noted) -- sold, and undone
    act(q, "approve"):expect(409)
  end)

  it("gives the last pieces to the first of two sales", function()
    local first, second = sold { { drill, 6 } }, sold { { drill, 6 } }
    app:deliver()
    assert.same({ "SOLD", "CANCELLED", 4 }, { read(first).status, read(second).status, on_hand(drill) })
  end)

  it("needs an ADMIN's consent beyond the seller's discount", function()
    local q = quotation({ { drill, 1 } }, { discount_percent = "50" })
    act(q, "submit"):expect(409, "NEEDS_AUTHORIZATION")
    act(q, "authorize"):expect(403)
    act(q, "authorize", { as = ADMIN }):expect(200)
    act(q, "submit"):expect(200)
    assert.equal("5.00", act(q, "approve"):expect(200).total_amount)
  end)

  it("is for good", function()
    local q = sold { { drill, 1 } }
    local path = "/api/v1/quotations/" .. q.id
    local before = app:get(path, { as = SELLER }).body
    app:patch(path, { as = SELLER, json = { notes = "x" } }):expect(409)
    act(q, "cancel", { as = ADMIN, json = { reason = "x" } }):expect(409)
    act(q, "submit"):expect(409)
    app:delete(path, { as = ADMIN }):expect(409)
    assert.equal(before, app:get(path, { as = SELLER }).body)
    assert.has_error(function() test.sql("UPDATE sales.quotations SET total_amount = 1 WHERE id = $1", q.id) end)
  end)

  it("is known to its customer only", function()
    local q = sold { { drill, 1 } }
    app:get("/api/v1/quotations/" .. q.id, { as = "CUSTOMER" }):expect(404, "QUOTATION_NOT_FOUND")
    local new = { customer_id = app:customer(), items = { { product_id = drill.id, quantity = 1 } } }
    local own = app:post("/api/v1/quotations", { as = "CUSTOMER", json = new }):expect(201)
    local listed = app:get("/api/v1/quotations", { as = "CUSTOMER" }):expect(200).data
    assert.same({ own.id }, { listed[1].id, listed[2] and listed[2].id })
    act(own, "submit", { as = "CUSTOMER" }):expect(200)
    act(own, "approve", { as = "CUSTOMER" }):expect(403, "FORBIDDEN")
  end)

  it("tells its story", function()
    local q = sold { { drill, 1 } }
    local entries = app:get("/api/v1/quotations/" .. q.id .. "/events", { as = SELLER }):expect(200).data
    local names = {}
    for i, entry in ipairs(entries) do
      names[i] = entry.event:match("[^.]+$")
      assert.equal(app:user(SELLER), entry.by)
    end
    assert.same({ "created", "submitted", "approved" }, names)
    local pdf = app:get("/api/v1/quotations/" .. q.id .. "/pdf", { as = SELLER })
    assert.equal(200, pdf.status)
    assert.equal("application/pdf", pdf.headers["content-type"])
    assert.equal("%PDF-", pdf.body:sub(1, 5))
  end)
end)
