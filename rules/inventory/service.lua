-- Inventory: the catalogue, its prices, and the stock.
local arrivals = require "inventory.events"
local products = require "inventory.products"
local schemas = require "inventory.schemas"

local EVERYONE = { "ADMIN", "SALES", "INVENTORY", "CUSTOMER" } -- a customer sees active products without cost and stock
local STAFF = { "ADMIN", "SALES", "INVENTORY" }
local KEEPERS = { "ADMIN", "INVENTORY" }

return {
  name = "inventory",
  schema_version = 3,
  needs = { "db", "events", "clock", "uuid", "http" },
  reads = { "identity.user_status" },
  publishes = { "product.created", "product.updated", "product.price_changed", "stock.reduced", "stock.rejected", "stock.low" },

  refusals = {
    BAD_QUANTITY = 400,
    DUPLICATE_SKU = 409,
    NOT_ENOUGH_STOCK = 409,
    PRICE_NEEDS_ADMIN = 403,
    PRODUCT_NOT_FOUND = 404,
    VERSION_MISMATCH = 412,
  },
  constraints = {
    products_sku_key = "DUPLICATE_SKU",
    products_stock_never_negative = "NOT_ENOUGH_STOCK",
  },

  routes = {
    { "GET", "/products", products.list, roles = EVERYONE, query = schemas.product_filter, summary = "List products, newest first" },
    { "POST", "/products", products.create, roles = KEEPERS, body = schemas.new_product, status = 201, summary = "Create a product" },
    { "GET", "/products/:id", products.get, roles = EVERYONE, summary = "A product" },
    { "PATCH", "/products/:id", products.patch, roles = KEEPERS, body = schemas.product_patch, summary = "Change a product" },
    { "DELETE", "/products/:id", products.deactivate, roles = KEEPERS, status = 204, summary = "Take a product out of the catalogue" },
    { "POST", "/products/:id/price", products.set_price, roles = { "ADMIN" }, body = schemas.price, summary = "Set the price" },
    { "GET", "/products/:id/price-history", products.prices, roles = STAFF, query = schemas.page, summary = "What it cost when" },
    { "GET", "/products/:id/stock-movements", products.movements, roles = STAFF, query = schemas.page, summary = "The stock ledger of a product" },
    { "POST", "/products/:id/stock-movements", products.move, roles = KEEPERS, body = schemas.movement, status = 201,
      summary = "Receive, issue or adjust stock" },
  },

  events = {
    { "quotation.approved", arrivals.quotations_approved, batch = true, fields = { "quotation_id", "number", "version", "line_items" } },
  },
}
