-- What sales takes: bodies and filters.
local s = require "shama.schema"

local schemas = {}

schemas.item = s.object {
  product_id = s.uuid { required = true },
  quantity = s.integer { required = true, min = 1, max = 100000 },
  discount_percent = s.decimal { scale = 2, min = "0", max = "100" },
}

schemas.item_patch = s.object {
  quantity = s.integer { min = 1, max = 100000 },
  discount_percent = s.decimal { scale = 2, min = "0", max = "100" },
}

schemas.items = s.object { items = s.array { of = schemas.item, required = true, min = 1, max = 100 } }

schemas.new_quotation = s.object {
  customer_id = s.uuid { required = true },
  items = s.array { of = schemas.item, required = true, min = 1, max = 100 },
  currency = s.string { enum = { "USD", "EUR", "VES" } },
  valid_until = s.date { nullable = true },
  notes = s.string { max = 2000, nullable = true },
  discount_percent = s.decimal { scale = 2, min = "0", max = "100" },
}

schemas.quotation_patch = s.object {
  items = s.array { of = schemas.item, min = 1, max = 100 },
  currency = s.string { enum = { "USD", "EUR", "VES" } },
  valid_until = s.date { nullable = true },
  notes = s.string { max = 2000, nullable = true },
  discount_percent = s.decimal { scale = 2, min = "0", max = "100" },
}

schemas.nothing = s.object {}
schemas.reason = s.object { reason = s.string { required = true, min = 1, max = 500 } }

schemas.quotation_filter = s.page {
  status = s.string { enum = { "DRAFT", "PENDING", "SOLD", "CANCELLED" } },
  customer_id = s.uuid(),
  from = s.date { description = "Created on this day or later" },
  to = s.date { description = "Created on this day or before" },
  sort = s.string { enum = { "-created_at" }, description = "Newest first, which is also the default" },
  search = s.string { min = 1, max = 100, description = "Part of the number or of the customer's name" },
}

return schemas
