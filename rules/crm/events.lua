-- What crm does when a quotation is sold, or its stock turns out to be missing.
local clock = require "shama.clock"
local text = require "shama.text"
local uuid = require "shama.uuid"
local messages = require "crm.messages.es" -- interactions are stored, so they are in the house's language
local store = require "crm.store"

local arrivals = {}

-- A sale makes a LEAD a customer, and is noted; many sales are two statements in one flight.
function arrivals.quotations_approved(tx, events)
  local ids, customers, subjects, quotations = {}, {}, {}, {}
  for i = 1, #events do
    local payload = events[i].payload
    ids[i], customers[i], quotations[i] = uuid.v7(), payload.customer_id, payload.quotation_id
    subjects[i] = text.format(messages.SUBJECT_SOLD, { number = payload.number or "", total = payload.total_amount_exact,
      currency = payload.currency })
  end
  local now = clock.now()
  tx:write(store.activate_leads, customers, now)
  tx:write(store.insert_system, ids, customers, subjects, quotations, "sold", now)
end

-- A sale that was undone is noted too. Other cancellations are nobody's news here.
function arrivals.quotation_cancelled(tx, event)
  local payload = event.payload
  if payload.from_status ~= "SOLD" then return end
  local subject = text.format(messages.SUBJECT_UNDONE, { number = payload.number or "", reason = payload.reason or "" })
  tx:write(store.insert_system, { uuid.v7() }, { payload.customer_id }, { subject }, { payload.quotation_id }, "undone", clock.now())
end

return arrivals
