-- Proves that the record of a decision is enough to decide again: the whole life of quotations goes through the application (its actions write the
-- records), then every record is replayed, from its text in the database alone, and gives the same result. Then that other policy values give
-- another one, and that a record beyond its size is dropped with a marker.
local decimal = require "shama.decimal"
local json = require "shama.json"
local test = require "shama.test"
local policy = require "sales.policy"
local replay = require "sales.replay"

local SELLER, ADMIN, KEEPER = "SALES", "ADMIN", "INVENTORY"
local RECORDS = "SELECT id, command, facts, result, policy FROM sales.decisions ORDER BY at, id"

-- As JSON would show it: decimals as text.
local function shown(value) return json.decode(json.encode(value)) end

describe("replaying decisions", function()
  local app, customer, drill, coffee, records

  local function product(sku, price, stock)
    local new = { sku = sku, name = sku, unit = "pieza", price = price, tax_category = "standard" }
    local made = app:post("/api/v1/products", { as = ADMIN, json = new }):expect(201)
    app:post("/api/v1/products/" .. made.id .. "/stock-movements", { as = KEEPER, json = { kind = "RECEIPT", quantity = stock } }):expect(201)
    return made
  end

  local function quotation(lines, more)
    local new = { customer_id = customer.id, items = lines }
    for name, value in pairs(more or {}) do new[name] = value end
    return app:post("/api/v1/quotations", { as = SELLER, json = new }):expect(201)
  end

  local function act(q, action, options)
    options = options or {}
    options.as = options.as or SELLER
    return app:post("/api/v1/quotations/" .. q.id .. "/" .. action, options):expect(action == "clone" and 201 or 200)
  end

  -- Every command that there is, most of them twice and with discounts, odd prices, and what a customer may do.
  local function live()
    customer = app:post("/api/v1/customers", { as = SELLER, json = { kind = "COMPANY", name = "Panadería Ñandú" } }):expect(201)
    drill, coffee = product("DRILL", "10.33", 10), product("COFFEE", "19.99", 10)
    app:deliver()
    local both = { { product_id = drill.id, quantity = 3, discount_percent = "5" }, { product_id = coffee.id, quantity = 1 } }
    local q = quotation(both, { discount_percent = "3.5", notes = "para \"hoy\"" })
    local path = "/api/v1/quotations/" .. q.id
    app:patch(path, { as = SELLER, json = { discount_percent = "30", valid_until = "2030-01-01", notes = json.null } }):expect(200)
    app:post(path .. "/items", { as = SELLER, json = { product_id = coffee.id, quantity = 2 } }):expect(200)
    local lines = app:get(path, { as = SELLER }):expect(200).items
    app:patch(path .. "/items/" .. lines[1].id, { as = SELLER, json = { quantity = 4 } }):expect(200)
    app:delete(path .. "/items/" .. lines[2].id, { as = SELLER }):expect(200)
    act(q, "authorize", { as = ADMIN })
    act(q, "submit")
    act(q, "return")
    act(q, "authorize", { as = ADMIN })
    act(q, "submit")
    app:patch("/api/v1/products/" .. drill.id, { as = ADMIN, json = { price = "10.50" } }):expect(200)
    act(q, "approve")
    act(act(q, "clone"), "cancel", { json = { reason = "ya no" } })
    local short = quotation { { product_id = drill.id, quantity = 500 } }
    act(short, "submit", { as = ADMIN })
    act(short, "approve", { as = ADMIN })
    app:deliver() -- the stock is not there: compensate
  end

  setup(function()
    app = test.app()
    live()
    records = test.sql(RECORDS)
  end)

  it("has a record of every command", function()
    local found = {}
    for _, record in ipairs(records) do found[record.command] = (found[record.command] or 0) + 1 end
    assert.same({ create = 3, edit = 4, authorize = 2, submit = 3, send_back = 1, approve = 2, cancel = 1, compensate = 1 }, found)
  end)

  it("gives the same results", function()
    for _, record in ipairs(records) do
      local known = json.decode(record.facts).known
      local decided, refused = replay.decide(known)
      assert.is_nil(refused)
      assert.same(json.decode(record.result), shown(decided.changes), record.command)
      assert.same(json.decode(record.policy), shown(decided.because), record.command)
      for i, item in ipairs(decided.items or {}) do assert.equal(known.line_totals[i], tostring(item.line_total)) end
      assert.equal(#known.line_totals, #(decided.items or {}))
    end
  end)

  it("keeps the policy values that were read, and no others", function()
    for _, record in ipairs(records) do
      local read = json.decode(record.facts).known.policy
      if record.command == "approve" then
        assert.equal(tostring(policy.price_drift_limit), read.price_drift_limit or tostring(policy.price_drift_limit))
        assert.equal("current", read.freeze_from)
        assert.is_nil(read.tax_rates)
      elseif record.command == "create" then
        assert.equal(tostring(policy.tax_rates.standard), read.tax_rates.standard)
        assert.is_nil(read.discount_limits)
      end
    end
  end)

  it("shows what another policy would have decided", function()
    for _, record in ipairs(records) do
      if record.command == "create" then
        local other = setmetatable({ tax_rates = { standard = decimal("0.00") } }, { __index = policy })
        local known = json.decode(record.facts).known
        assert.not_same(json.decode(record.result).tax_total, shown(replay.decide(known, other).changes).tax_total)
      end
    end
  end)

  it("is not what /why shows", function()
    local why = app:get("/api/v1/quotations/" .. test.sql("SELECT entity_id FROM sales.decisions WHERE command = 'approve' LIMIT 1")[1].entity_id .. "/why",
      { as = ADMIN }):expect(200)
    for _, decision in ipairs(why.data) do
      assert.is_nil(decision.facts.known)
      assert.is_table(decision.facts.prices)
    end
  end)

  it("drops what is too large, and says so", function()
    local long, lines = product(("LONG-NAME-"):rep(6), "1.00", 1), {}
    for i = 1, 100 do lines[i] = { product_id = long.id, quantity = i } end
    local q = quotation(lines)
    local edited = app:put("/api/v1/quotations/" .. q.id .. "/items", { as = SELLER, json = { items = lines } }):expect(200)
    assert.equal(100, #edited.items)
    local sizes = test.sql("SELECT facts FROM sales.decisions WHERE entity_id = $1 ORDER BY id", q.id)
    local dropped = 0
    for _, row in ipairs(sizes) do
      local known = json.decode(row.facts).known
      assert.is_true(#row.facts < policy.decision_bytes_max + 10000)
      if not replay.is_complete(known) then
        dropped = dropped + 1
        assert.is_true(known.dropped_bytes > policy.decision_bytes_max)
        assert.has_error(function() replay.decide(known) end)
      end
    end
    assert.is_true(dropped > 0)
  end)
end)
