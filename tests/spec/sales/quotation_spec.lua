-- gate
-- The decisions of sales: every transition from every state against a matrix written out by hand, and each rule with the refusal it gives.
local decimal = require "shama.decimal"
local policy = require "sales.policy"
local quotation = require "sales.quotation"

local SALES = { id = "s", roles = { SALES = true } }
local ADMIN = { id = "a", roles = { ADMIN = true } }
local CUSTOMER = { id = "c", roles = { CUSTOMER = true }, customer_id = "customer-1" }

local function product(price, cost, category, active)
  return { name = "Taladro", price = decimal(price), cost = cost and decimal(cost), tax_category = category or "exempt", active = active ~= false }
end

local function facts(products)
  return {
    today = "2026-11-24", default_valid_until = "2026-12-24", customer = { id = "customer-1", name = "Ana", status = "LEAD" },
    products = products or { p1 = product("10.00"), p2 = product("5.00") },
  }
end

-- A quotation of two lines, 20.00 + 5.00.
local function stored(status, more)
  local function line(id, product_id, quantity, price, total)
    return {
      id = id, product_id = product_id, product_name = "Taladro", quantity = quantity, unit_price = decimal(price),
        discount_percent = decimal("0.00"),
      tax_rate = decimal("0.00"), line_total = decimal(total),
    }
  end
  local state = {
    id = "q", status = status, version = 3, customer_id = "customer-1", discount_percent = decimal("0.00"), subtotal = decimal("25.00"),
    discount_total = decimal("0.00"), tax_total = decimal("0.00"), total_amount = decimal("25.00"), rounding = "line/half_up",
      valid_until = "2026-12-01",
    items = { line("i1", "p1", 2, "10.00", "20.00"), line("i2", "p2", 1, "5.00", "5.00") },
  }
  for name, value in pairs(more or {}) do state[name] = value end
  return state
end

-- The policy with other numbers.
local function with(changes) return setmetatable(changes, { __index = policy }) end

local function refused(code, result, refusal)
  assert.is_nil(result)
  assert.equal(code, refusal.code)
  return refusal
end

local function create(command, known, by)
  command.name, command.user = "create", by or SALES
  return quotation.decide(nil, command, known or facts(), policy)
end

describe("the life of a quotation", function()
  local EXPECTED = { -- action -> state -> what comes of it
    edit =       { DRAFT = "DRAFT", PENDING = "QUOTATION_NOT_DRAFT", SOLD = "QUOTATION_NOT_DRAFT", CANCELLED = "QUOTATION_NOT_DRAFT" },
    authorize =  { DRAFT = "DRAFT", PENDING = "QUOTATION_NOT_DRAFT", SOLD = "QUOTATION_NOT_DRAFT", CANCELLED = "QUOTATION_NOT_DRAFT" },
    submit =     { DRAFT = "PENDING", PENDING = "QUOTATION_NOT_DRAFT", SOLD = "QUOTATION_NOT_DRAFT", CANCELLED = "QUOTATION_NOT_DRAFT" },
    approve =    { DRAFT = "QUOTATION_NOT_PENDING", PENDING = "SOLD", SOLD = "QUOTATION_NOT_PENDING", CANCELLED = "QUOTATION_NOT_PENDING" },
    send_back =  { DRAFT = "QUOTATION_NOT_PENDING", PENDING = "DRAFT", SOLD = "QUOTATION_NOT_PENDING", CANCELLED = "QUOTATION_NOT_PENDING" },
    cancel =     { DRAFT = "CANCELLED", PENDING = "CANCELLED", SOLD = "QUOTATION_CLOSED", CANCELLED = "QUOTATION_CLOSED" },
    compensate = { DRAFT = "INVALID_TRANSITION", PENDING = "INVALID_TRANSITION", SOLD = "CANCELLED", CANCELLED = "INVALID_TRANSITION" },
  }
  for action, outcomes in pairs(EXPECTED) do
    for status, outcome in pairs(outcomes) do
      it(("%s from %s gives %s"):format(action, status, outcome), function()
        local result, refusal = quotation.decide(stored(status), { name = action, user = ADMIN, reason = "porque sí" }, facts(), policy)
        if result then assert.equal(outcome, result.changes.status) else assert.equal(outcome, refusal.code) end
      end)
    end
  end

  it("has no edge that is not in the matrix", function()
    local edges = quotation.life:transitions()
    for i = 1, #edges do assert.equal(edges[i].to, EXPECTED[edges[i].action][edges[i].from]) end
  end)
end)

describe("creating", function()
  it("takes names, prices and tax from the catalogue", function()
    local result = assert(create({ items = { { product_id = "p1", quantity = 3 } } }, facts { p1 = product("10.00", nil, "standard") }))
    assert.equal("DRAFT", result.changes.status)
    assert.equal("Ana", result.changes.customer_name)
    assert.equal("2026-12-24", result.changes.valid_until)
    assert.equal("30.00", tostring(result.changes.subtotal))
    assert.is_true(result.changes.total_amount == decimal("30.00") + (decimal("30.00") * policy.tax_rates.standard):div(100, 2,
      policy.rounding.method))
    assert.equal("Taladro", result.items[1].product_name)
    assert.equal(1, result.changes.item_count)
  end)

  it("names every line that cannot be", function()
    local known = facts { p1 = product("10.00"), p2 = product("1.00", nil, nil, false) }
    local refusal = refused("UNKNOWN_PRODUCT", create({ items = { { product_id = "p1", quantity = 1 }, { product_id = "p9", quantity = 1 },
      { product_id = "p2", quantity = 1 } } }, known))
    assert.same({ { pointer = "/items/1/product_id", code = "UNKNOWN_PRODUCT" }, { pointer = "/items/2/product_id", code = "PRODUCT_INACTIVE" } },
      refusal.params.errors)
  end)

  it("refuses a category without a tax rate", function()
    refused("UNKNOWN_TAX_CATEGORY", create({ items = { { product_id = "p1", quantity = 1 } } }, facts { p1 = product("1.00", nil, "luxury") }))
  end)

  it("refuses unknown, foreign and inactive customers", function()
    local items, known = { { product_id = "p1", quantity = 1 } }, facts()
    assert(create({ items = items }, known, CUSTOMER))
    known.customer.id = "customer-2"
    refused("UNKNOWN_CUSTOMER", create({ items = items }, known, CUSTOMER))
    known.customer.status = "INACTIVE"
    refused("CUSTOMER_INACTIVE", create({ items = items }, known))
    known.customer = nil
    refused("UNKNOWN_CUSTOMER", create({ items = items }, known))
  end)

  it("refuses a past date and a sum beyond DECIMAL(10,2)", function()
    refused("VALID_UNTIL_PAST", create { items = { { product_id = "p1", quantity = 1 } }, valid_until = "2026-11-23" })
    refused("AMOUNT_TOO_LARGE", create({ items = { { product_id = "p1", quantity = 100000 } } }, facts { p1 = product("1000.00") }))
  end)
end)

describe("editing", function()
  it("keeps the price of a quoted line and takes the catalogue's for a new one", function()
    local state = stored("DRAFT")
    local items = { state.items[1], { product_id = "p2", quantity = 2 } }
    local result = assert(quotation.decide(state, { name = "edit", user = SALES, items = items }, facts { p1 = product("99.00"),
      p2 = product("7.00") }, policy))
    assert.equal("10.00", tostring(result.items[1].unit_price))
    assert.equal("7.00", tostring(result.items[2].unit_price))
    assert.equal("34.00", tostring(result.changes.total_amount))
  end)
end)

describe("submitting", function()
  local function submit(state, by, known) return quotation.decide(state, { name = "submit", user = by or SALES }, known or facts(), policy) end

  it("asks for a number the first time only", function()
    assert.is_true(submit(stored("DRAFT")).needs_number)
    assert.is_false(submit(stored("DRAFT", { number = "COT-2026-000001" })).needs_number)
  end)

  it("needs an ADMIN's consent to a discount beyond the seller's limit", function()
    local above = { discount_total = decimal("2.51") }
    assert(submit(stored("DRAFT", { discount_total = decimal("2.50") })))
    refused("NEEDS_AUTHORIZATION", submit(stored("DRAFT", above)))
    assert(submit(stored("DRAFT", above), ADMIN))
    above.authorized_at = "2026-11-24T10:00:00Z"
    assert(submit(stored("DRAFT", above)))
    refused("NEEDS_AUTHORIZATION", submit(stored("DRAFT", { discount_total = decimal("0.01") }), CUSTOMER))
  end)

  it("looks at each line's discount too", function()
    local state = stored("DRAFT")
    state.items[2].discount_percent = decimal("10.01")
    refused("NEEDS_AUTHORIZATION", submit(state))
  end)

  it("needs it for a margin below the policy's", function()
    assert(submit(stored("DRAFT"), SALES, facts { p1 = product("10.00", "9.50"), p2 = product("5.00") }))
    refused("NEEDS_AUTHORIZATION", submit(stored("DRAFT"), SALES, facts { p1 = product("10.00", "9.51"), p2 = product("5.00") }))
  end)

  it("refuses what has expired", function() refused("QUOTATION_EXPIRED", submit(stored("DRAFT", { valid_until = "2026-11-23" }))) end)

  it("only an ADMIN authorizes", function()
    refused("ADMIN_NEEDED", quotation.decide(stored("DRAFT"), { name = "authorize", user = SALES }, facts(), policy))
  end)
end)

describe("approving", function()
  local function approve(state, by, known, other)
    return quotation.decide(state, { name = "approve", user = by or SALES }, known or facts(), other or policy)
  end

  it("freezes the catalogue's prices of the moment, and the total follows", function()
    local state = stored("PENDING")
    local result = assert(approve(state, SALES, facts { p1 = product("10.50"), p2 = product("5.00") }))
    assert.equal("SOLD", result.changes.status)
    assert.equal("10.50", tostring(result.items[1].unit_price_snapshot))
    assert.equal("10.00", tostring(result.items[1].unit_price))
    assert.equal("26.00", tostring(result.changes.total_amount))
    assert.is_nil(state.items[1].unit_price_snapshot) -- what was given is not touched
  end)

  it("keeps the submitted prices when the policy says so", function()
    local result = assert(approve(stored("PENDING"), SALES, facts { p1 = product("99.00"), p2 = product("5.00") }, with { freeze_from = "quoted" }))
    assert.equal("10.00", tostring(result.items[1].unit_price_snapshot))
    assert.equal("25.00", tostring(result.changes.total_amount))
  end)

  it("needs an ADMIN when the total drifts above the limit, up or down", function()
    local up, down = facts { p1 = product("11.26"), p2 = product("5.00") }, facts { p1 = product("8.74"), p2 = product("5.00") }
    assert(approve(stored("PENDING"), SALES, facts { p1 = product("11.25"), p2 = product("5.00") }))
    local refusal = refused("PRICE_DRIFT", approve(stored("PENDING"), SALES, up))
    assert.equal("27.52", tostring(refusal.params.after))
    refused("PRICE_DRIFT", approve(stored("PENDING"), SALES, down))
    assert(approve(stored("PENDING"), ADMIN, up))
  end)

  it("checks validity at that moment, and a product that went away", function()
    assert(approve(stored("PENDING", { valid_until = "2026-11-24" })))
    refused("QUOTATION_EXPIRED", approve(stored("PENDING", { valid_until = "2026-11-23" })))
    refused("PRODUCT_INACTIVE", approve(stored("PENDING"), SALES, facts { p1 = product("10.00", nil, nil, false), p2 = product("5.00") }))
  end)

  it("computes by the rounding that the document was quoted with", function()
    local state = stored("PENDING", { rounding = "total/half_even" })
    for _, line in ipairs(state.items) do line.tax_rate = decimal("0.50") end
    local result = assert(approve(state)) -- 25.00 x 0.5 % = 0.125
    assert.equal("0.12", tostring(result.changes.tax_total))
  end)

  it("refuses a superseded one", function()
    for _, name in ipairs { "approve", "send_back", "cancel" } do
      refused("QUOTATION_SUPERSEDED", quotation.decide(stored("PENDING", { superseded_by = "r2" }), { name = name, user = ADMIN, reason = "x" },
        facts(), policy))
    end
  end)
end)

describe("cancelling", function()
  it("is a customer's right while it is a draft", function()
    local command = { name = "cancel", user = CUSTOMER, reason = "ya no" }
    assert.equal("ya no", quotation.decide(stored("DRAFT"), command, facts(), policy).changes.cancel_reason)
    refused("QUOTATION_NOT_DRAFT", quotation.decide(stored("PENDING"), command, facts(), policy))
  end)
end)
