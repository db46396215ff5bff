-- What sales does when others report.
local text = require "shama.text"
local quotations = require "sales.quotations"
local store = require "sales.store"
local messages = require "sales.messages.es"

local arrivals = {}

local function products_of(payload)
  local short = {}
  for i, line in ipairs(payload.lines or {}) do short[i] = line.product_id .. " (" .. (line.available or 0) .. "/" .. (line.requested or 0) .. ")" end
  return table.concat(short, ", ")
end

-- The stock was not there: the sale is compensated, with the reason.
function arrivals.stock_rejected(tx, event)
  local reason = text.format(messages.REASON_STOCK_REJECTED, { products = products_of(event.payload) })
  quotations.compensate(tx, event.payload.quotation_id, reason)
end

-- Quotations show the customer's name: it follows.
function arrivals.customers_updated(tx, events)
  local ids = {}
  for i, event in ipairs(events) do ids[i] = event.payload.customer_id end
  tx:write(store.rename_customers, ids)
end

return arrivals
