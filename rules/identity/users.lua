-- User administration.
local clock = require "shama.clock"
local db = require "shama.db"
local http = require "shama.http"
local json = require "shama.json"
local password = require "shama.password"
local refusal = require "shama.refusal"
local text = require "shama.text"
local uuid = require "shama.uuid"
local lists = require "shared.lists"
local rows = require "shared.rows"
local versions = require "shared.versions"
local store = require "identity.store"
local user = require "identity.user"

local NULL = json.null
local FIELDS = { "id", "email", "full_name", "roles", "disabled", "customer_id", "created_at", "updated_at", "version" }

local users = {}

local function not_found(id) return refusal.raise("USER_NOT_FOUND", { id = id }) end

local function address_of(email) return text.trim(email):lower() end

function users.list(req)
  local at, id = lists.after(req)
  local limit = req.query.limit
  local found
  if at then found = db.query(store.list, at, id, limit) else found = db.query(store.list_first, limit) end
  return http.page(found, limit, lists.key, req.query)
end

function users.get(req)
  local row = db.one(store.get, req.params.id) or not_found(req.params.id)
  return http.ok(row, { etag = row.version })
end

function users.create(req)
  local body, now = req.body, clock.now()
  local state = {
    id = uuid.v7(), email = address_of(body.email), full_name = text.trim(body.full_name), roles = body.roles, disabled = body.disabled,
    created_at = now, updated_at = now, version = 1,
  }
  if body.customer_id ~= NULL then state.customer_id = body.customer_id end
  refusal.check(user.decide(nil, { name = "create", user = state }))
  local hash = password.hash(body.password)
  db.exec(store.insert, state.id, state.email, hash, state.full_name, state.roles, state.disabled, state.customer_id, now)
  return http.created(rows.shown(state, FIELDS), "/api/v1/users/" .. state.id)
end

function users.patch(req)
  local body, changes = req.body, {}
  for _, name in ipairs { "full_name", "roles", "disabled" } do changes[name] = body[name] end
  if body.email then changes.email = address_of(body.email) end
  if body.customer_id ~= NULL then changes.customer_id = body.customer_id end
  if body.password then changes.password_hash = password.hash(body.password) end -- before the transaction: it takes its time
  return db.tx(function(tx)
    local state = rows.pick(tx:one(store.lock, req.params.id) or not_found(req.params.id), FIELDS)
    versions.check(req, state.version)
    local command = { name = "change", changes = changes, removes_customer = body.customer_id == NULL, by = req.user.id }
    local decided = refusal.check(user.decide(state, command))
    for name, value in pairs(decided.changes) do state[name] = value end
    if command.removes_customer then state.customer_id = nil end
    local now = clock.now()
    state.version, state.updated_at = state.version + 1, now
    tx:write(store.update, state.id, state.version, state.email, state.full_name, state.roles, state.disabled, state.customer_id,
      changes.password_hash, now)
    if decided.ends_sessions then tx:write(store.revoke_user, state.id, now) end
    return http.ok(rows.shown(state, FIELDS), { etag = state.version })
  end)
end

return users
