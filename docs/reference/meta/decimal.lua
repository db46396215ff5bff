---@meta shama.decimal
-- Money: exact decimal numbers. Pure. `/` and `%` are refused, since they would have to round.

---@alias shama.rounding "half_up"|"half_even"|"down"|"up"

---@class shama.Decimal
---@operator add(shama.Decimal|integer): shama.Decimal
---@operator sub(shama.Decimal|integer): shama.Decimal
---@operator mul(shama.Decimal|integer): shama.Decimal
---@operator unm: shama.Decimal
---@operator concat(any): string
local Decimal = {}

---@param scale integer places behind the point
---@param method shama.rounding
---@return shama.Decimal
function Decimal:round(scale, method) end

---@param divisor shama.Decimal|integer
---@param scale integer
---@param method shama.rounding
---@return shama.Decimal
function Decimal:div(divisor, scale, method) end

---@return boolean
function Decimal:is_zero() end

---@return boolean
function Decimal:is_negative() end

---@return integer
function Decimal:scale() end

---@return string
function Decimal:to_string() end

---decimal("12.50"): from a text, or from a whole number.
---@class shama.decimal
---@overload fun(value: string|integer|shama.Decimal): shama.Decimal
local decimal = {}

---@param value string|integer|shama.Decimal
---@return shama.Decimal
function decimal.new(value) end

---@param value any
---@return boolean
function decimal.is(value) end

return decimal
