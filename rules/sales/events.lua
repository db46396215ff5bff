-- What sales does when others report.
local text = require "shama.text"
local quotations = require "sales.quotations"
local store = require "sales.store"
local messages = require "sales.messages.es"

local arrivals = {}

-- "Taladro (8/9), Cemento (0/2)": what was there, of what was sold.
local function short_products(quotation, lines)
  local names, short = {}, {}
  for _, item in ipairs(quotation.items) do names[item.id] = item.product_name end
  for i, line in ipairs(lines or {}) do
    short[i] = (names[line.item_id] or line.product_id) .. " (" .. (line.available or 0) .. "/" .. (line.requested or 0) .. ")"
  end
  return table.concat(short, ", ")
end

-- The stock was not there: the sale is compensated, with the reason.
function arrivals.stock_rejected(tx, event)
  quotations.compensate(tx, event.payload.quotation_id, function(quotation)
    return text.format(messages.REASON_STOCK_REJECTED, { products = short_products(quotation, event.payload.lines) })
  end)
end

-- Quotations show the customer's name: it follows.
function arrivals.customers_updated(tx, events)
  local ids = {}
  for i, event in ipairs(events) do ids[i] = event.payload.customer_id end
  tx:write(store.rename_customers, ids)
end

return arrivals
