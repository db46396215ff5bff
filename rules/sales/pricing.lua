-- What lines cost together, exact to the cent: sum(line_total) - the quotation's discount + tax = total, whatever is split.
--
--   line_total     = price x quantity - the line's discount
--   subtotal       = sum of price x quantity
--   discount_total = all discounts
--   total_amount   = subtotal - discount_total + tax_total
local decimal = require "shama.decimal"
local json = require "shama.json"

local ZERO = decimal("0.00")

local pricing = {}

-- The largest amount that DECIMAL(10,2) holds.
pricing.AMOUNT_MAX = decimal("99999999.99")

local function per_cent(amount, percent, method) return (amount * percent):div(100, 2, method) end

-- Tax with the quotation's discount split over the lines. A line's share is the difference of two rounded running sums,
-- so the shares add up to the discount and none exceeds its line.
local function tax_of(lines, line_totals, net, discount, rounding)
  local method, per_line = rounding.method, rounding.per == "line"
  local has_discount = not discount:is_zero()
  local tax, running, given = ZERO, ZERO, ZERO
  local bases, rates, order -- by rate, when tax is rounded once per rate
  if not per_line then bases, rates, order = {}, {}, {} end
  for i = 1, #lines do
    local rate, base = lines[i].tax_rate, line_totals[i]
    if has_discount then
      running = running + base
      local until_here = (discount * running):div(net, 2, method)
      base = base - (until_here - given)
      given = until_here
    end
    if per_line then
      if not rate:is_zero() then tax = tax + per_cent(base, rate, method) end
    else
      local key = tostring(rate)
      if not bases[key] then
        bases[key], rates[key], order[#order + 1] = ZERO, rate, key
      end
      bases[key] = bases[key] + base
    end
  end
  if per_line then return tax end
  for _, key in ipairs(order) do tax = tax + per_cent(bases[key], rates[key], method) end
  return tax
end

-- `lines`: { { price, quantity, discount_percent, tax_rate } }, decimals but for the quantity. Returns the amounts, with
-- line_totals[i] for each line.
function pricing.price(lines, discount_percent, rounding)
  local method = rounding.method
  local subtotal, net, line_totals = ZERO, ZERO, json.array(#lines)
  for i = 1, #lines do
    local line = lines[i]
    local gross = line.price * line.quantity
    local total = gross
    if not line.discount_percent:is_zero() then total = gross - per_cent(gross, line.discount_percent, method) end
    line_totals[i] = total
    subtotal, net = subtotal + gross, net + total
  end
  local discount = ZERO
  if not discount_percent:is_zero() then discount = per_cent(net, discount_percent, method) end
  local tax = tax_of(lines, line_totals, net, discount, rounding)
  return {
    line_totals = line_totals,
    subtotal = subtotal,
    discount_total = subtotal - net + discount,
    tax_total = tax,
    total_amount = net - discount + tax,
  }
end

function pricing.is_too_large(amounts) return amounts.subtotal > pricing.AMOUNT_MAX or amounts.total_amount > pricing.AMOUNT_MAX end

-- As it is stored on the document: "line/half_up".
function pricing.rounding_name(rounding) return rounding.per .. "/" .. rounding.method end

function pricing.rounding_of(name)
  local per, method = name:match("^(%l+)/([%l_]+)$")
  return { per = per, method = method }
end

return pricing
