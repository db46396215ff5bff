-- Identity: who somebody is, and who may come in.
local auth = require "identity.auth"
local schemas = require "identity.schemas"
local users = require "identity.users"

local ADMIN = { "ADMIN" }

return {
  name = "identity",
  schema_version = 2,
  needs = { "db", "jwt", "password", "crypto", "clock", "uuid", "log", "http" },
  reads = { "identity.user_status" },
  publishes = {},

  refusals = {
    CANNOT_LOCK_SELF_OUT = 409,
    CUSTOMER_ID_NEEDED = 422,
    CUSTOMER_ID_UNFIT = 422,
    DUPLICATE_EMAIL = 409,
    INVALID_CREDENTIALS = 401,
    INVALID_REFRESH_TOKEN = 401,
    UNKNOWN_CUSTOMER = 422,
    USER_NOT_FOUND = 404,
    VERSION_MISMATCH = 412,
  },
  constraints = {
    users_email_key = "DUPLICATE_EMAIL",
    users_customer_id_fkey = "UNKNOWN_CUSTOMER",
  },

  routes = {
    { "POST", "/auth/login", auth.login, public = true, body = schemas.login, summary = "Log in" },
    { "POST", "/auth/refresh", auth.refresh, public = true, body = schemas.refresh,
      summary = "A new access token for a refresh token, which is replaced" },
    { "POST", "/auth/logout", auth.logout, authenticated = true, body = schemas.logout, status = 204,
      summary = "End a session, or all of one's own" },
    { "GET", "/auth/me", auth.me, authenticated = true, summary = "Who one is" },

    { "GET", "/users", users.list, roles = ADMIN, query = schemas.page, summary = "List users, newest first" },
    { "POST", "/users", users.create, roles = ADMIN, body = schemas.new_user, status = 201, summary = "Create a user" },
    { "GET", "/users/:id", users.get, roles = ADMIN, summary = "A user" },
    { "PATCH", "/users/:id", users.patch, roles = ADMIN, body = schemas.user_patch, summary = "Change, disable or enable a user" },
  },
}
