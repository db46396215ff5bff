-- What crm takes: bodies and filters.
local s = require "shama.schema"

local schemas = {}

local function address()
  return s.object({
    street = s.string { max = 200 }, city = s.string { max = 100 }, region = s.string { max = 100 }, postal_code = s.string { max = 20 },
    country = s.string { max = 100 },
  }, { nullable = true })
end

local function customer_fields(is_new)
  return {
    kind = s.string { required = is_new, enum = { "PERSON", "COMPANY" } },
    name = s.string { required = is_new, min = 1, max = 200 },
    tax_id = s.string { min = 1, max = 40, nullable = true },
    email = s.email { nullable = true },
    phone = s.string { min = 1, max = 40, nullable = true },
    address = address(),
    owner_id = s.uuid { nullable = true },
  }
end

schemas.new_customer = s.object(customer_fields(true))
schemas.customer_patch = s.object(customer_fields(false))
schemas.nothing = s.object {}

schemas.customer_filter = s.page {
  search = s.string { min = 1, max = 100, description = "Part of name, tax id, e-mail or phone" },
  status = s.string { enum = { "LEAD", "ACTIVE", "INACTIVE" } },
  owner_id = s.uuid(),
  sort = s.string { enum = { "-created_at" }, description = "Newest first, which is also the default" },
}
schemas.page = s.page()

schemas.contact = s.object {
  name = s.string { required = true, min = 1, max = 200 },
  email = s.email { nullable = true },
  phone = s.string { max = 40, nullable = true },
  position = s.string { max = 100, nullable = true },
  is_primary = s.boolean { default = false },
}

schemas.interaction = s.object {
  kind = s.string { required = true, enum = { "CALL", "EMAIL", "MEETING", "NOTE" } },
  subject = s.string { required = true, min = 1, max = 200 },
  body = s.string { max = 5000, nullable = true },
  occurred_at = s.timestamp(),
}

return schemas
