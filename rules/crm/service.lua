-- CRM: customers, their contacts, and what passed between us.
local arrivals = require "crm.events"
local customers = require "crm.customers"
local schemas = require "crm.schemas"

local STAFF = { "SALES", "ADMIN" }
local READERS = { "SALES", "ADMIN", "CUSTOMER" } -- a customer reads what is its own

return {
  name = "crm",
  schema_version = 4,
  needs = { "db", "events", "clock", "uuid", "http" },
  reads = { "identity.user_status" },
  publishes = { "customer.created", "customer.updated" },

  refusals = {
    CUSTOMER_NOT_FOUND = 404,
    CUSTOMER_STATUS = 409,
    VERSION_MISMATCH = 412,
  },
  constraints = {
    interactions_customer_id_fkey = "CUSTOMER_NOT_FOUND",
    contacts_customer_id_fkey = "CUSTOMER_NOT_FOUND",
  },

  routes = {
    { "GET", "/customers", customers.list, roles = READERS, query = schemas.customer_filter, summary = "List customers, newest first" },
    { "POST", "/customers", customers.create, roles = STAFF, body = schemas.new_customer, status = 201, summary = "Create a customer" },
    { "GET", "/customers/:id", customers.get, roles = READERS, summary = "A customer" },
    { "PATCH", "/customers/:id", customers.patch, roles = STAFF, body = schemas.customer_patch, summary = "Change a customer" },
    { "POST", "/customers/:id/activate", customers.activate, roles = STAFF, body = schemas.nothing, summary = "LEAD or INACTIVE to ACTIVE" },
    { "POST", "/customers/:id/deactivate", customers.deactivate, roles = STAFF, body = schemas.nothing, summary = "To INACTIVE" },
    { "GET", "/customers/:id/contacts", customers.contacts, roles = READERS, summary = "The customer's contacts" },
    { "POST", "/customers/:id/contacts", customers.add_contact, roles = STAFF, body = schemas.contact, status = 201, summary = "Add a contact" },
    { "GET", "/customers/:id/interactions", customers.interactions, roles = READERS, query = schemas.page, summary = "What passed, newest first" },
    { "POST", "/customers/:id/interactions", customers.add_interaction, roles = STAFF, body = schemas.interaction, status = 201,
      summary = "Note a call, a mail, a meeting" },
  },

  events = {
    { "quotation.approved", arrivals.quotations_approved, batch = true,
      fields = { "quotation_id", "customer_id", "number", "total_amount_exact", "currency" } },
    { "quotation.cancelled", arrivals.quotation_cancelled },
  },
}
