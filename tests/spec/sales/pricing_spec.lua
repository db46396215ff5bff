-- gate
-- Prices: hand-computed examples, and properties that hold for many random quotations (the generator is seeded, so a failure repeats).
local decimal = require "shama.decimal"
local pricing = require "sales.pricing"

local LINE = { per = "line", method = "half_up" }
local TOTAL = { per = "total", method = "half_up" }
local ZERO = decimal("0.00")

local function line(price, quantity, discount, rate)
  return { price = decimal(price), quantity = quantity, discount_percent = decimal(discount or "0.00"), tax_rate = decimal(rate or "0.00") }
end

local function shown(amounts)
  return { tostring(amounts.subtotal), tostring(amounts.discount_total), tostring(amounts.tax_total), tostring(amounts.total_amount) }
end

describe("pricing", function()
  it("sums lines without tax and discount", function()
    local amounts = pricing.price({ line("10.00", 2), line("3.33", 3) }, ZERO, LINE)
    assert.same({ "29.99", "0.00", "0.00", "29.99" }, shown(amounts))
    assert.equal("9.99", tostring(amounts.line_totals[2]))
  end)

  it("takes the line's discount, then the quotation's, then adds tax", function()
    local amounts = pricing.price({ line("10.00", 2, "0.00", "16.00"), line("3.33", 3, "5.00", "8.00") }, decimal("10.00"), LINE)
    -- lines 20.00 and 9.49; the quotation's discount 2.95 is split 2.00 + 0.95; tax 2.88 + 0.68
    assert.same({ "29.99", "3.45", "3.56", "30.10" }, shown(amounts))
  end)

  it("rounds tax per line or once per rate, as the policy says", function()
    local lines = { line("0.10", 1, "0.00", "15.00"), line("0.10", 1, "0.00", "15.00"), line("0.10", 1, "0.00", "15.00") }
    assert.equal("0.06", tostring(pricing.price(lines, ZERO, LINE).tax_total))
    assert.equal("0.05", tostring(pricing.price(lines, ZERO, TOTAL).tax_total))
  end)

  it("rounds halves up or to even, as the policy says", function()
    local lines = { line("0.10", 1, "0.00", "25.00") }
    assert.equal("0.03", tostring(pricing.price(lines, ZERO, LINE).tax_total))
    assert.equal("0.02", tostring(pricing.price(lines, ZERO, { per = "line", method = "half_even" }).tax_total))
  end)

  it("knows what does not fit DECIMAL(10,2)", function()
    assert.is_false(pricing.is_too_large(pricing.price({ line("99999999.99", 1) }, ZERO, LINE)))
    assert.is_true(pricing.is_too_large(pricing.price({ line("99999999.99", 2) }, ZERO, LINE)))
    assert.is_true(pricing.is_too_large(pricing.price({ line("99999999.99", 1, "0.00", "1.00") }, ZERO, LINE)))
  end)

  it("names the rounding and reads the name back", function()
    for _, rounding in ipairs { LINE, TOTAL, { per = "total", method = "half_even" } } do
      assert.same(rounding, pricing.rounding_of(pricing.rounding_name(rounding)))
    end
  end)

  it("loses and makes no cent, whatever is split", function()
    local seed = 20261124
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n
    end
    local function cents(n) return decimal(("%d.%02d"):format(n / 100, n % 100)) end
    local rates = { "0.00", "8.00", "16.00", "7.25" }
    for round = 1, 1500 do
      local lines = {}
      for i = 1, 1 + random(8) do
        local discount = random(2) == 0 and 0 or random(10001)
        lines[i] = {
          price = cents(random(100000)), quantity = 1 + random(50), discount_percent = cents(discount), tax_rate = decimal(rates[1 + random(#rates)]),
        }
      end
      local rounding = { per = random(2) == 0 and "line" or "total", method = random(2) == 0 and "half_up" or "half_even" }
      local amounts = pricing.price(lines, cents(random(3) == 0 and 0 or random(10001)), rounding)
      local net = ZERO
      for _, total in ipairs(amounts.line_totals) do
        net = net + total
        assert.is_false(total:is_negative(), "round " .. round)
      end
      assert.is_true(amounts.total_amount == amounts.subtotal - amounts.discount_total + amounts.tax_total, "round " .. round)
      assert.is_true(amounts.discount_total >= amounts.subtotal - net, "round " .. round)
      assert.is_true(amounts.discount_total <= amounts.subtotal, "round " .. round)
      assert.is_false(amounts.tax_total:is_negative(), "round " .. round)
      assert.equal(2, amounts.total_amount:scale(), "round " .. round)
    end
  end)
end)
