-- gate
-- The events of quotations carry money twice and the business key of each line, as config/proto/quotation.proto says.
local decimal = require "shama.decimal"
local payloads = require "sales.payloads"

local QUOTATION = {
  id = "q", customer_id = "c", number = "COT-2026-000001", version = 4, currency = "USD", total_amount = decimal("34.61"),
    cancel_reason = "sin existencias",
  items = { { id = "i1", product_id = "p1", quantity = 2, unit_price = decimal("10.00"), unit_price_snapshot = decimal("10.50") } },
}

describe("payloads", function()
  it("tell an approval with the frozen prices", function()
    assert.same({
      quotation_id = "q", total_amount = decimal("34.61"), timestamp = 1000, total_amount_exact = decimal("34.61"), customer_id = "c", number = "COT-2026-000001",
        version = 4,
      currency = "USD", approved_by = "u", line_items = { { product_id = "p1", quantity = 2, unit_price = decimal("10.50"), item_id = "i1",
        unit_price_exact = decimal("10.50") } },
    }, payloads["quotation.approved"](QUOTATION, 1000, "u"))
  end)

  it("tell where a cancelled one came from", function()
    local payload = payloads["quotation.cancelled"](QUOTATION, 1000, nil, "SOLD")
    assert.equal("SOLD", payload.from_status)
    assert.equal("sin existencias", payload.reason)
    assert.is_nil(payload.cancelled_by)
  end)
end)
