-- The events of quotations as config/proto/quotation.proto has them.
local payloads = {}

local LATER = nil -- in a constructor: room for a member that is set later, since a table that grows is dear

local function line_items(items)
  local list = { nil, nil, nil, nil } -- room for the usual few
  for i, item in ipairs(items) do
    local price = (item.unit_price_snapshot or item.unit_price):to_string()
    list[i] = {
      product_id = item.product_id,
      quantity = item.quantity,
      unit_price = tonumber(price),
      item_id = item.id,
      unit_price_exact = price,
    }
  end
  return list
end

-- What most of them share. `quotation` is the quotation as it is after the change.
local function base(quotation, now_ms)
  local total = quotation.total_amount:to_string()
  return {
    quotation_id = quotation.id,
    total_amount = tonumber(total),
    timestamp = now_ms,
    total_amount_exact = total,
    customer_id = quotation.customer_id,
    number = quotation.number,
    version = quotation.version,
    currency = quotation.currency,
    line_items = LATER, created_by = LATER, submitted_by = LATER, approved_by = LATER, valid_until = LATER,
  }
end

payloads["quotation.created"] = function(quotation, now_ms, by)
  local payload = base(quotation, now_ms)
  payload.line_items, payload.created_by = line_items(quotation.items), by
  payload.number = nil
  return payload
end

payloads["quotation.submitted"] = function(quotation, now_ms, by)
  local payload = base(quotation, now_ms)
  payload.line_items, payload.submitted_by, payload.valid_until = line_items(quotation.items), by, quotation.valid_until
  return payload
end

payloads["quotation.approved"] = function(quotation, now_ms, by)
  local payload = base(quotation, now_ms)
  payload.line_items, payload.approved_by = line_items(quotation.items), by
  return payload
end

payloads["quotation.returned"] = function(quotation, now_ms, by)
  return {
    quotation_id = quotation.id, timestamp = now_ms, customer_id = quotation.customer_id, number = quotation.number,
    version = quotation.version, returned_by = by,
  }
end

payloads["quotation.cancelled"] = function(quotation, now_ms, by, from_status)
  local payload = base(quotation, now_ms)
  payload.cancelled_by, payload.reason, payload.from_status = by, quotation.cancel_reason, from_status
  return payload
end

return payloads
