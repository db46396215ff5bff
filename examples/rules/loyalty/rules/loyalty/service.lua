-- Loyalty: points that a customer earns by what it buys.
local arrivals = require "loyalty.events"
local points = require "loyalty.account"

return {
  name = "loyalty",
  schema_version = 6,
  needs = { "db", "clock" },
  reads = { "crm.customer_names", "identity.user_status" },

  refusals = { CUSTOMER_NOT_FOUND = 404 },

  routes = {
    { "GET", "/loyalty/:customer_id", points.get, roles = { "SALES", "ADMIN", "CUSTOMER" }, summary = "A customer's points and level" },
  },

  events = {
    { "quotation.approved", arrivals.quotations_approved, batch = true },
    { "quotation.cancelled", arrivals.quotation_cancelled },
  },
}
