-- Proves the stock ledger through the application: what is on hand is the sum of the movements, never below nothing, and only the ledger changes it;
-- a sale is one movement a line, whatever is delivered again; whoever may not see stock sees none.
local db = require "shama.db"
local json = require "shama.json"
local test = require "shama.test"

describe("the stock ledger", function()
  local app
  local count = 0

  local function product(more)
    count = count + 1
    local new = { sku = "LED-" .. count, name = "Cemento " .. count, unit = "saco", price = "9.75", cost = "7.80", tax_category = "exempt" }
    for name, value in pairs(more or {}) do new[name] = value end
    return app:post("/api/v1/products", { as = "INVENTORY", json = new }):expect(201)
  end

  local function move(of, kind, quantity, more)
    local body = { kind = kind, quantity = quantity }
    for name, value in pairs(more or {}) do body[name] = value end
    return app:post("/api/v1/products/" .. of.id .. "/stock-movements", { as = "INVENTORY", json = body })
  end

  local function read(of, as) return app:get("/api/v1/products/" .. of.id, { as = as or "INVENTORY" }):expect(200) end
  local function movements(of)
    return app:get("/api/v1/products/" .. of.id .. "/stock-movements", { as = "INVENTORY", query = { limit = 200 } }):expect(200).data
  end

  local function sum(of)
    local total = 0
    for _, movement in ipairs(movements(of)) do total = total + movement.signed_quantity end
    return total
  end

  local function sell(of, quantity)
    local customer = app:post("/api/v1/customers", { as = "SALES", json = { kind = "PERSON", name = "Ana" } }):expect(201)
    local new = { customer_id = customer.id, items = { { product_id = of.id, quantity = quantity } } }
    local q = app:post("/api/v1/quotations", { as = "SALES", json = new }):expect(201)
    app:post("/api/v1/quotations/" .. q.id .. "/submit", { as = "SALES" }):expect(200)
    return app:post("/api/v1/quotations/" .. q.id .. "/approve", { as = "SALES" }):expect(200)
  end

  setup(function() app = test.app() end)

  it("adds up", function()
    local p = product()
    assert.equal(0, read(p).stock_on_hand)
    local first = move(p, "RECEIPT", 10, { reason = "Compra", reference = "F-1" }):expect(201)
    assert.same({ 10, "Compra", "F-1", app:user("INVENTORY") }, { first.signed_quantity, first.reason, first.reference, first.created_by })
    assert.equal(-3, move(p, "ISSUE", 3):expect(201).signed_quantity)
    assert.equal(-2, move(p, "ADJUSTMENT", -2):expect(201).signed_quantity)
    move(p, "ADJUSTMENT", 1):expect(201)
    local is = read(p)
    assert.same({ 6, 0, 6 }, { is.stock_on_hand, is.stock_reserved, is.stock_available })
    assert.equal(6, sum(p))
    assert.equal("ADJUSTMENT", movements(p)[1].kind) -- newest first
  end)

  it("never goes below nothing, and a refused movement leaves no trace", function()
    local p = product()
    move(p, "RECEIPT", 5):expect(201)
    move(p, "ISSUE", 6):expect(409, "NOT_ENOUGH_STOCK")
    move(p, "ADJUSTMENT", -6):expect(409, "NOT_ENOUGH_STOCK")
    assert.equal(5, read(p).stock_on_hand)
    assert.equal(1, #movements(p))
    move(p, "ISSUE", 5):expect(201)
    assert.equal(0, read(p).stock_on_hand)
  end)

  it("takes whole quantities that say which way they count", function()
    local p = product()
    local refused = {
      { "RECEIPT", 0 }, { "RECEIPT", -1 }, { "ISSUE", -1 }, { "ADJUSTMENT", 0 }, { "RECEIPT", 1.5 }, { "SALE", 1 }, { "RETURN", 1 },
    }
    for _, case in ipairs(refused) do
      assert.equal(400, move(p, case[1], case[2]).status, case[1] .. " " .. case[2])
    end
    assert.same({}, movements(p))
    app:post("/api/v1/products/0192f0c1-2345-7abc-8def-0123456789ab/stock-movements", { as = "INVENTORY", json = { kind = "RECEIPT", quantity = 1 } })
      :expect(404, "PRODUCT_NOT_FOUND")
  end)

  it("is only added to, by nobody else than itself", function()
    local p = product()
    move(p, "RECEIPT", 5):expect(201)
    assert.has_error(function() test.sql("UPDATE inventory.stock_movements SET quantity = 1 WHERE product_id = $1", p.id) end)
    assert.has_error(function() test.sql("DELETE FROM inventory.stock_movements WHERE product_id = $1", p.id) end)
    test.use("inventory")
    local ok, problem = pcall(db.exec, "UPDATE inventory.products SET stock_on_hand = 99 WHERE id = $1", p.id)
    assert.is_false(ok)
    assert.equal("42501", problem.sqlstate) -- the service itself has no right to that column
    test.use("sales")
    ok, problem = pcall(db.query, "SELECT * FROM inventory.stock_movements")
    assert.is_false(ok)
    assert.equal("42501", problem.sqlstate)
    assert.equal(5, read(p).stock_on_hand)
  end)

  it("has one movement for a sold line, however often the event comes", function()
    local p = product()
    move(p, "RECEIPT", 10):expect(201)
    sell(p, 4)
    app:deliver()
    app:deliver { again = true }
    app:deliver { again = true, new_ids = true }
    local sales = {}
    for _, movement in ipairs(movements(p)) do
      if movement.kind == "SALE" then sales[#sales + 1] = movement.signed_quantity end
    end
    assert.same({ -4 }, sales)
    assert.equal(6, read(p).stock_on_hand)
    assert.equal(6, sum(p))
  end)

  it("says when little is left: once, when the level is passed", function()
    local p = product { reorder_level = 5 }
    app:deliver()
    move(p, "RECEIPT", 10):expect(201)
    move(p, "ISSUE", 4):expect(201)
    assert.same({}, app:deliver())
    move(p, "ISSUE", 1):expect(201)
    assert.same({ "stock.low" }, app:deliver())
    move(p, "ISSUE", 1):expect(201)
    assert.same({}, app:deliver())
    local low = app:get("/api/v1/products", { as = "INVENTORY", query = { low_stock = true, search = p.sku } }):expect(200).data
    assert.equal(p.id, low[1].id)
  end)

  it("is nothing that a customer sees", function()
    local p = product()
    move(p, "RECEIPT", 5):expect(201)
    local seen = read(p, "CUSTOMER")
    for _, name in ipairs { "cost", "stock_on_hand", "stock_reserved", "stock_available", "reorder_level" } do assert.is_nil(seen[name], name) end
    assert.equal("9.75", seen.price)
    app:delete("/api/v1/products/" .. p.id, { as = "INVENTORY" }):expect(204)
    app:get("/api/v1/products/" .. p.id, { as = "CUSTOMER" }):expect(404)
    assert.is_false(read(p).active)
  end)

  it("keeps prices with their history, and a sku for one product", function()
    local p = product()
    app:post("/api/v1/products/" .. p.id .. "/price", { as = "ADMIN", json = { price = "10.00" } }):expect(200)
    local history = app:get("/api/v1/products/" .. p.id .. "/price-history", { as = "SALES" }):expect(200).data
    assert.same({ "10.00", "9.75" }, { history[1].price, history[2].price })
    assert.same({ "9.75", json.null }, { history[1].previous, history[2].previous })
    app:post("/api/v1/products", { as = "INVENTORY", json = { sku = p.sku, name = "x", unit = "x", price = "1.00" } }):expect(409, "DUPLICATE_SKU")
  end)
end)
