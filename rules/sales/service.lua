-- Sales: quotations, from a draft to a sale.
local arrivals = require "sales.events"
local quotations = require "sales.quotations"
local schemas = require "sales.schemas"

local STAFF = { "SALES", "ADMIN" }
local EVERYONE = { "SALES", "ADMIN", "CUSTOMER" } -- a customer only reaches what is its own

return {
  name = "sales",
  schema_version = 5,
  needs = { "db", "events", "pdf", "clock", "uuid", "config", "http" },
  reads = { "inventory.product_catalog", "crm.customer_names", "identity.user_status" },
  publishes = { "quotation.created", "quotation.submitted", "quotation.approved", "quotation.returned", "quotation.cancelled" },

  refusals = {
    ADMIN_NEEDED = 403,
    AMOUNT_TOO_LARGE = 422,
    CUSTOMER_INACTIVE = 422,
    ITEM_NOT_FOUND = 404,
    LAST_ITEM = 422,
    NEEDS_AUTHORIZATION = 409,
    PRICE_DRIFT = 409,
    PRODUCT_INACTIVE = 422,
    QUOTATION_CLOSED = 409,
    QUOTATION_EXPIRED = 409,
    QUOTATION_IMMUTABLE = 409,
    QUOTATION_NOT_DRAFT = 409,
    QUOTATION_NOT_FOUND = 404,
    QUOTATION_NOT_PENDING = 409,
    QUOTATION_NUMBERED = 409,
    QUOTATION_SUPERSEDED = 409,
    TOO_MANY_ITEMS = 422,
    UNKNOWN_CUSTOMER = 422,
    UNKNOWN_PRODUCT = 422,
    UNKNOWN_TAX_CATEGORY = 422,
    VALID_UNTIL_PAST = 422,
    VERSION_MISMATCH = 412,
  },
  constraints = {
    quotations_customer_id_fkey = "UNKNOWN_CUSTOMER",
    quotation_items_product_id_fkey = "UNKNOWN_PRODUCT",
    quotation_sold_immutable = "QUOTATION_IMMUTABLE",
  },

  routes = {
    { "GET", "/quotations", quotations.list, roles = EVERYONE, query = schemas.quotation_filter, summary = "List quotations, newest first" },
    { "POST", "/quotations", quotations.create, roles = EVERYONE, body = schemas.new_quotation, status = 201, summary = "Create a quotation" },
    { "GET", "/quotations/:id", quotations.get, roles = EVERYONE, summary = "A quotation with its lines" },
    { "PATCH", "/quotations/:id", quotations.patch, roles = EVERYONE, body = schemas.quotation_patch, summary = "Change a draft" },
    { "DELETE", "/quotations/:id", quotations.delete, roles = EVERYONE, status = 204, summary = "Delete a draft without a number" },

    { "PUT", "/quotations/:id/items", quotations.replace_items, roles = EVERYONE, body = schemas.items, summary = "Replace all lines of a draft" },
    { "POST", "/quotations/:id/items", quotations.add_item, roles = EVERYONE, body = schemas.item, summary = "Add a line to a draft" },
    { "PATCH", "/quotations/:id/items/:item_id", quotations.patch_item, roles = EVERYONE, body = schemas.item_patch,
      summary = "Change a line of a draft" },
    { "DELETE", "/quotations/:id/items/:item_id", quotations.remove_item, roles = EVERYONE, summary = "Take a line out of a draft" },

    { "POST", "/quotations/:id/submit", quotations.submit, roles = EVERYONE, body = schemas.nothing,
      summary = "Submit: DRAFT to PENDING, with a number" },
    { "POST", "/quotations/:id/approve", quotations.approve, roles = STAFF, body = schemas.nothing, summary = "Approve: freeze the prices, SOLD" },
    { "POST", "/quotations/:id/return", quotations.send_back, roles = STAFF, body = schemas.nothing, summary = "Return to DRAFT" },
    { "POST", "/quotations/:id/cancel", quotations.cancel, roles = EVERYONE, body = schemas.reason, summary = "Cancel, with a reason" },
    { "POST", "/quotations/:id/authorize", quotations.authorize, roles = { "ADMIN" }, body = schemas.nothing,
      summary = "Consent to a discount or margin beyond the seller's limit" },
    { "POST", "/quotations/:id/clone", quotations.clone, roles = EVERYONE, body = schemas.nothing, status = 201,
      summary = "A new draft of the same lines" },

    { "GET", "/quotations/:id/events", quotations.events, roles = EVERYONE, summary = "What happened to the quotation" },
    { "GET", "/quotations/:id/why", quotations.why, roles = STAFF, summary = "Which rules and values decided" },
    { "GET", "/quotations/:id/pdf", quotations.pdf, roles = EVERYONE, produces = "application/pdf", summary = "The quotation as PDF" },
  },

  events = {
    { "stock.rejected", arrivals.stock_rejected },
    { "customer.updated", arrivals.customers_updated, batch = true },
  },
}
