-- What inventory takes: bodies and filters.
local s = require "shama.schema"
local policy = require "inventory.policy"

local schemas = {}

local function product_fields(is_new)
  return {
    sku = s.string { required = is_new, min = 1, max = 64 },
    name = s.string { required = is_new, min = 1, max = 200 },
    description = s.string { max = 2000, nullable = true },
    category = s.string { max = 100, nullable = true },
    unit = s.string { required = is_new, min = 1, max = 32 },
    price = s.money { required = is_new, min = "0" },
    cost = s.money { min = "0", nullable = true },
    tax_category = s.string { enum = policy.tax_categories, default = "standard" },
    reorder_level = s.integer { min = 0, max = 1000000000, default = 0 },
    active = s.boolean { default = true },
  }
end

schemas.new_product = s.object(product_fields(true))
schemas.product_patch = s.object(product_fields(false))
schemas.price = s.object { price = s.money { required = true, min = "0" } }

schemas.product_filter = s.page {
  search = s.string { min = 1, max = 100, description = "Part of sku, name, category or description" },
  category = s.string { min = 1, max = 100 },
  active = s.boolean(),
  sort = s.string { enum = { "-created_at" }, description = "Newest first, which is also the default" },
  low_stock = s.boolean { description = "Only what is at or below its reorder level" },
}
schemas.page = s.page()

schemas.movement = s.object {
  kind = s.string { required = true, enum = { "RECEIPT", "ISSUE", "ADJUSTMENT" }, description = "SALE and RETURN are the system's" },
  quantity = s.integer { required = true, min = -1000000000, max = 1000000000, description = "Positive; of an ADJUSTMENT signed" },
  reason = s.string { max = 500, nullable = true },
  reference = s.string { max = 100, nullable = true },
}

return schemas
