-- The numbers of loyalty.
local decimal = require "shama.decimal"

return {
  amount_per_point = decimal("10.00"), -- of a sale's total, in its currency
  levels = {                           -- from so many points on; the highest first
    { name = "GOLD", from = 1000 },
    { name = "SILVER", from = 100 },
    { name = "BASIC", from = 0 },
  },
}
