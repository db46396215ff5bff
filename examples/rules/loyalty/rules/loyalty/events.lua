-- What loyalty does when something was sold, or a sale was undone.
local clock = require "shama.clock"
local decimal = require "shama.decimal"
local points = require "loyalty.points"
local policy = require "loyalty.policy"
local store = require "loyalty.store"

local arrivals = {}

-- Many sales are one statement.
function arrivals.quotations_approved(tx, events)
  local quotations, customers, earned = {}, {}, {}
  for i, event in ipairs(events) do
    local payload = event.payload
    quotations[i], customers[i] = payload.quotation_id, payload.customer_id
    earned[i] = points.decide(nil, { name = "earn", total = decimal(payload.total_amount_exact) }, {}, policy).points
  end
  tx:write(store.earn, quotations, customers, earned, clock.now())
end

function arrivals.quotation_cancelled(tx, event)
  local payload = event.payload
  if payload.from_status ~= "SOLD" then return end
  tx:write(store.undo, payload.quotation_id, payload.customer_id, clock.now())
end

return arrivals
