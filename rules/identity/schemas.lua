-- What identity takes.
local s = require "shama.schema"
local policy = require "identity.policy"

local ROLES = { "ADMIN", "SALES", "INVENTORY", "CUSTOMER" }

local schemas = {}

schemas.login = s.object {
  email = s.string { required = true, min = 1, max = 254 },
  password = s.string { required = true, min = 1, max = 200 },
}
schemas.refresh = s.object { refresh_token = s.string { required = true, min = 1, max = 200 } }
schemas.logout = s.object { refresh_token = s.string { min = 1, max = 200 } }

local function user_fields(is_new)
  return {
    email = s.email { required = is_new },
    password = s.string { required = is_new, min = policy.password_min, max = 200 },
    full_name = s.string { required = is_new, min = 1, max = 200 },
    roles = s.array { of = s.string { enum = ROLES }, required = is_new, min = 1, max = 4 },
    disabled = s.boolean { default = false },
    customer_id = s.uuid { nullable = true },
  }
end

schemas.new_user = s.object(user_fields(true))
schemas.user_patch = s.object(user_fields(false))
schemas.page = s.page()

return schemas
