-- The numbers of sales: change them here, run the specs, reload. Per cents and money are exact decimals.
local decimal = require "shama.decimal"

return {
  currency = "USD",
  number_prefix = "COT",             -- COT-2026-000123
  validity_days = 30,                -- of a quotation that names no date

  tax_rates = {                      -- per cent, by the product's tax category
    standard = decimal("16.00"),
    reduced = decimal("8.00"),
    exempt = decimal("0.00"),
  },
  rounding = {
    per = "line",                    -- tax is rounded per "line", or once per rate of the "total"
    method = "half_up",              -- "half_up" or "half_even"
  },

  discount_limits = {                -- per cent that a role may give; above it an ADMIN must authorize before the quotation is sent
    ADMIN = decimal("100"),
    SALES = decimal("10"),
    CUSTOMER = decimal("0"),
  },
  margin_min_percent = decimal("5"), -- of what is left after discounts, over the products' cost; below it likewise

  freeze_from = "current",           -- at approval: the catalogue's prices of that moment ("current"), or the submitted ones ("quoted")
  price_drift_limit = decimal("10"), -- per cent that the total may move by it; more needs an ADMIN

  decision_bytes_max = 32768,        -- what a decision went by is kept for replays up to this size; beyond it only that it was dropped
  decision_keep_days = 730,          -- older records are removed as new ones are written
}
