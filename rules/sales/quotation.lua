-- What may happen to a quotation, and what comes of it: pure decisions. The action loads the facts and writes the result.
--
-- state    the quotation with its items (nil for create)
-- command  { name =, user = { id, roles, customer_id }, ... what the caller asks }
-- facts    { today =, customer =, products = { [id] = { name, price, cost, tax_category, active } } }
-- result   { changes = columns, items = lines, because = the policy values that decided, event = subject }
local decider = require "shama.decider"
local decimal = require "shama.decimal"
local json = require "shama.json"
local machine = require "shama.machine"
local refusal = require "shama.refusal"
local pricing = require "sales.pricing"

local ZERO = decimal("0.00")

-- An edge that is not here does not exist.
local life = machine "quotation" {
  initial    = "DRAFT",
  final      = "CANCELLED",
  edit       = { from = "DRAFT", to = "DRAFT", otherwise = "QUOTATION_NOT_DRAFT" },
  authorize  = { from = "DRAFT", to = "DRAFT", otherwise = "QUOTATION_NOT_DRAFT" },
  submit     = { from = "DRAFT", to = "PENDING", otherwise = "QUOTATION_NOT_DRAFT" },
  approve    = { from = "PENDING", to = "SOLD", otherwise = "QUOTATION_NOT_PENDING" },
  send_back  = { from = "PENDING", to = "DRAFT", otherwise = "QUOTATION_NOT_PENDING" },
  cancel     = { from = { "DRAFT", "PENDING" }, to = "CANCELLED", otherwise = "QUOTATION_CLOSED" },
  compensate = { from = "SOLD", to = "CANCELLED" },
}

-- Who asks -----------------------------------------------------------------------------------------------------------------

local function is_staff(user) return user.roles.SALES or user.roles.ADMIN end

local function discount_limit(user, policy)
  local limit = ZERO
  for role in pairs(user.roles) do
    local own = policy.discount_limits[role]
    if own and own > limit then limit = own end
  end
  return limit
end

-- Lines and prices ---------------------------------------------------------------------------------------------------------

-- As it is stored: two places.
local function percent(value) return value and value:round(2, "half_up") or ZERO end

-- The lines as they are to be: each with name, price, tax rate. A line that is already quoted keeps its price; a new one takes the catalogue's.
local function quote_lines(wanted, products, policy)
  local lines, errors = json.array(#wanted), nil
  local tax_rates = policy.tax_rates
  for i, line in ipairs(wanted) do
    local product = products[line.product_id]
    local rate = product and tax_rates[product.tax_category]
    if not product or not product.active then
      errors = errors or {}
      errors[#errors + 1] = { pointer = "/items/" .. i - 1 .. "/product_id", code = product and "PRODUCT_INACTIVE" or "UNKNOWN_PRODUCT" }
    elseif not rate then
      return nil, refusal("UNKNOWN_TAX_CATEGORY", { category = product.tax_category })
    else
      lines[i] = {
        id = line.id,
        product_id = line.product_id,
        product_name = line.product_name or product.name,
        quantity = line.quantity,
        discount_percent = percent(line.discount_percent),
        unit_price = line.unit_price or product.price,
        price = line.unit_price or product.price,
        tax_rate = line.tax_rate or rate,
        line_total = ZERO, -- until it is priced
      }
    end
  end
  if errors then return nil, refusal(errors[1].code, { errors = errors }) end
  return lines
end

-- Prices the lines and sets each one's line_total; the header's amounts, or a refusal.
local function price_lines(lines, discount_percent, rounding)
  local amounts = pricing.price(lines, discount_percent, rounding)
  if pricing.is_too_large(amounts) then return nil, refusal("AMOUNT_TOO_LARGE", { max = pricing.AMOUNT_MAX }) end
  for i, line in ipairs(lines) do line.line_total = amounts.line_totals[i] end
  return {
    subtotal = amounts.subtotal,
    discount_total = amounts.discount_total,
    tax_total = amounts.tax_total,
    total_amount = amounts.total_amount,
    item_count = #lines,
  }
end

-- More discount than the seller may give, on a line or on the whole?
local function is_discount_above(quotation, limit)
  if quotation.discount_total * 100 > quotation.subtotal * limit then return true end
  for _, line in ipairs(quotation.items) do
    if line.discount_percent > limit then return true end
  end
  return false
end

-- Less than the margin we want, over the lines whose cost is known?
local function is_margin_below(quotation, products, policy)
  local left, cost, known = ZERO, ZERO, false
  for _, line in ipairs(quotation.items) do
    local product = products[line.product_id]
    if product and product.cost then
      known = true
      left = left + line.line_total * (100 - quotation.discount_percent)
      cost = cost + product.cost * line.quantity * 100
    end
  end
  return known and (left - cost) * 100 < left * policy.margin_min_percent
end

local function needs_authorization(quotation, user, facts, policy)
  if user.roles.ADMIN or quotation.authorized_at then return nil end
  local limit = discount_limit(user, policy)
  if is_discount_above(quotation, limit) then return refusal("NEEDS_AUTHORIZATION", { limit = limit }) end
  if is_margin_below(quotation, facts.products, policy) then return refusal("NEEDS_AUTHORIZATION", { limit = limit }) end
end

local function is_expired(quotation, facts) return quotation.valid_until ~= nil and quotation.valid_until < facts.today end

-- Commands -----------------------------------------------------------------------------------------------------------------

local function check_customer(command, facts)
  local user, customer = command.user, facts.customer
  if not customer or (not is_staff(user) and user.customer_id ~= customer.id) then
    return refusal("UNKNOWN_CUSTOMER", { errors = { { pointer = "/customer_id", code = "UNKNOWN_CUSTOMER" } } })
  end
  if customer.status == "INACTIVE" then return refusal("CUSTOMER_INACTIVE") end
end

local function create(_, command, facts, policy)
  local refused = check_customer(command, facts)
  if refused then return nil, refused end
  if command.valid_until and command.valid_until < facts.today then return nil, refusal("VALID_UNTIL_PAST") end
  local discount_percent = percent(command.discount_percent)
  local lines, changes
  lines, refused = quote_lines(command.items, facts.products, policy)
  if not lines then return nil, refused end
  changes, refused = price_lines(lines, discount_percent, policy.rounding)
  if not changes then return nil, refused end
  changes.status = life.initial
  changes.customer_name = facts.customer.name
  changes.currency = command.currency or policy.currency
  changes.valid_until = command.valid_until or facts.default_valid_until
  changes.discount_percent = discount_percent
  changes.rounding = pricing.rounding_name(policy.rounding)
  return {
    changes = changes,
    items = lines,
    because = { rounding = changes.rounding, validity_days = policy.validity_days },
    event = "quotation.created",
  }
end

-- `command.items`, when given, are all lines of the quotation from now on. What was authorized is to be authorized again.
local function edit(quotation, command, facts, policy)
  if command.valid_until and command.valid_until < facts.today then return nil, refusal("VALID_UNTIL_PAST") end
  local discount_percent = percent(command.discount_percent or quotation.discount_percent)
  local lines, refused = quote_lines(command.items or quotation.items, facts.products, policy)
  if not lines then return nil, refused end
  local changes
  changes, refused = price_lines(lines, discount_percent, policy.rounding)
  if not changes then return nil, refused end
  changes.discount_percent = discount_percent
  changes.rounding = pricing.rounding_name(policy.rounding)
  return { changes = changes, items = lines, because = { rounding = changes.rounding }, event = "quotation.edited" }
end

local function authorize(quotation, command)
  if not command.user.roles.ADMIN then return nil, refusal("ADMIN_NEEDED") end
  return { changes = {}, because = { discount_total = quotation.discount_total, subtotal = quotation.subtotal }, event = "quotation.authorized" }
end

local function submit(quotation, command, facts, policy)
  if is_expired(quotation, facts) then return nil, refusal("QUOTATION_EXPIRED", { valid_until = quotation.valid_until }) end
  local refused = needs_authorization(quotation, command.user, facts, policy)
  if refused then return nil, refused end
  return {
    changes = {},
    needs_number = quotation.number == nil,
    because = { discount_limit = discount_limit(command.user, policy), margin_min_percent = policy.margin_min_percent },
    event = "quotation.submitted",
  }
end

-- The price that a line is frozen at, or a refusal.
local function frozen_price(line, facts, policy)
  if policy.freeze_from == "quoted" then return line.unit_price end
  local product = facts.products[line.product_id]
  if not product or not product.active then return nil, refusal("PRODUCT_INACTIVE", { product = line.product_name }) end
  return product.price
end

local function is_drift_above(before, after, limit)
  local moved = after - before
  if moved:is_negative() then moved = -moved end
  return moved * 100 > before * limit
end

-- Freezes the prices: lines carry unit_price_snapshot, and the amounts follow it, by the rounding that the document was quoted with.
local function approve(quotation, command, facts, policy)
  if quotation.superseded_by then return nil, refusal("QUOTATION_SUPERSEDED") end
  if is_expired(quotation, facts) then return nil, refusal("QUOTATION_EXPIRED", { valid_until = quotation.valid_until }) end
  local lines = json.array(#quotation.items)
  for i, line in ipairs(quotation.items) do
    local price, refused = frozen_price(line, facts, policy)
    if not price then return nil, refused end
    lines[i] = {
      id = line.id, product_id = line.product_id, product_name = line.product_name, quantity = line.quantity,
        discount_percent = line.discount_percent,
      unit_price = line.unit_price, unit_price_snapshot = price, price = price, tax_rate = line.tax_rate, line_total = ZERO,
    }
  end
  local changes, refused = price_lines(lines, quotation.discount_percent, pricing.rounding_of(quotation.rounding))
  if not changes then return nil, refused end
  if not command.user.roles.ADMIN and is_drift_above(quotation.total_amount, changes.total_amount, policy.price_drift_limit) then
    return nil, refusal("PRICE_DRIFT", { limit = policy.price_drift_limit, before = quotation.total_amount, after = changes.total_amount })
  end
  return {
    changes = changes,
    items = lines,
    because = { freeze_from = policy.freeze_from, price_drift_limit = policy.price_drift_limit },
    event = "quotation.approved",
  }
end

local function send_back(quotation)
  if quotation.superseded_by then return nil, refusal("QUOTATION_SUPERSEDED") end
  return { changes = {}, because = {}, event = "quotation.returned" }
end

-- A customer may take back a draft of its own; what was submitted is the seller's to cancel.
local function cancel(quotation, command)
  if quotation.superseded_by then return nil, refusal("QUOTATION_SUPERSEDED") end
  if not is_staff(command.user) and quotation.status ~= "DRAFT" then return nil, refusal("QUOTATION_NOT_DRAFT") end
  return { changes = { cancel_reason = command.reason }, because = {}, event = "quotation.cancelled" }
end

-- The stock was not there: the sale is undone.
local function compensate(_, command)
  return { changes = { cancel_reason = command.reason }, because = {}, event = "quotation.cancelled" }
end

return decider "quotation" {
  life = life,
  create = create,
  edit = edit,
  authorize = authorize,
  submit = submit,
  approve = approve,
  send_back = send_back,
  cancel = cancel,
  compensate = compensate,
}
