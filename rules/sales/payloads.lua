-- The events of quotations as config/proto/quotation.proto has them. A decimal goes into a double or a text, as the field is.
local json = require "shama.json"

local payloads = {}

local function line_items(items)
  local list = json.array(#items)
  for i, item in ipairs(items) do
    local price = item.unit_price_snapshot or item.unit_price
    list[i] = {
      product_id = item.product_id,
      quantity = item.quantity,
      unit_price = price,
      item_id = item.id,
      unit_price_exact = price,
    }
  end
  return list
end

-- What most of them share. `quotation` is the quotation as it is after the change; `by_field` names who made it.
local function base(quotation, now_ms, by_field, by)
  return {
    quotation_id = quotation.id,
    total_amount = quotation.total_amount,
    timestamp = now_ms,
    total_amount_exact = quotation.total_amount,
    customer_id = quotation.customer_id,
    number = quotation.number,
    version = quotation.version,
    currency = quotation.currency,
    [by_field] = by,
  }
end

local function with_lines(quotation, now_ms, by_field, by)
  local payload = base(quotation, now_ms, by_field, by)
  payload.line_items = line_items(quotation.items)
  return payload
end

payloads["quotation.created"] = function(quotation, now_ms, by)
  local payload = with_lines(quotation, now_ms, "created_by", by)
  payload.number = nil
  return payload
end

payloads["quotation.submitted"] = function(quotation, now_ms, by)
  local payload = with_lines(quotation, now_ms, "submitted_by", by)
  payload.valid_until = quotation.valid_until
  return payload
end

payloads["quotation.approved"] = function(quotation, now_ms, by)
  return with_lines(quotation, now_ms, "approved_by", by)
end

payloads["quotation.returned"] = function(quotation, now_ms, by)
  return {
    quotation_id = quotation.id, timestamp = now_ms, customer_id = quotation.customer_id, number = quotation.number,
    version = quotation.version, returned_by = by,
  }
end

payloads["quotation.cancelled"] = function(quotation, now_ms, by, from_status)
  local payload = base(quotation, now_ms, "cancelled_by", by)
  payload.reason, payload.from_status = quotation.cancel_reason, from_status
  return payload
end

return payloads
