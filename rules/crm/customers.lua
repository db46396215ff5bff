-- The endpoints of customers, their contacts and interactions.
local clock = require "shama.clock"
local db = require "shama.db"
local http = require "shama.http"
local json = require "shama.json"
local refusal = require "shama.refusal"
local text = require "shama.text"
local uuid = require "shama.uuid"
local lists = require "shared.lists"
local rows = require "shared.rows"
local versions = require "shared.versions"
local customer = require "crm.customer"
local store = require "crm.store"

local NULL = json.null
local FIELDS = { "id", "kind", "name", "tax_id", "email", "phone", "address", "status", "owner_id", "created_at", "updated_at", "version" }
local CHANGEABLE = { "kind", "name", "tax_id", "email", "phone", "address", "owner_id" }
local REQUIRED = { kind = true, name = true }

local customers = {}

local function is_staff(user) return user.roles.ADMIN or user.roles.SALES end

local function not_found(id) return refusal.raise("CUSTOMER_NOT_FOUND", { id = id }) end

-- A CUSTOMER finds itself, and nobody else.
local function check_visible(req)
  if not is_staff(req.user) and req.params.id ~= req.user.customer_id then not_found(req.params.id) end
end

local function address_param(address) return address and db.json(address) or nil end

function customers.list(req)
  local query = req.query
  local at, id = lists.after(req)
  local own
  if not is_staff(req.user) then own = req.user.customer_id end
  local pattern = query.search and "%" .. text.like(text.fold(query.search)) .. "%" or nil
  local found = db.query(store.list, pattern, query.status, query.owner_id, own, at, id, query.limit)
  return http.page(found, query.limit, lists.key, query)
end

function customers.get(req)
  check_visible(req)
  local row = db.one(store.get, req.params.id) or not_found(req.params.id)
  return http.ok(row, { etag = row.version })
end

local function payload(state, by_field, by)
  return {
    customer_id = state.id, name = state.name, timestamp = clock.ms(), kind = state.kind, status = state.status, version = state.version,
      [by_field] = by,
  }
end

function customers.create(req)
  local body, now = req.body, clock.now()
  local state = {
    id = uuid.v7(), kind = body.kind, name = text.trim(body.name), tax_id = rows.present(body.tax_id), email = rows.present(body.email),
      phone = rows.present(body.phone),
    address = rows.present(body.address), status = customer.life.initial, owner_id = rows.present(body.owner_id), created_at = now,
      updated_at = now, version = 1,
  }
  local duplicates = db.tx(function(tx)
    local found = tx:query(store.duplicates, state.tax_id, state.email, state.name)
    tx:write(store.insert, state.id, state.kind, state.name, state.tax_id, state.email, state.phone, address_param(state.address), state.status,
      state.owner_id, now)
    tx:emit("customer.created", state.id, payload(state, "created_by", req.user.id))
    return found
  end)
  local answer = rows.shown(state, FIELDS)
  answer.possible_duplicates = duplicates
  return http.created(answer, "/api/v1/customers/" .. state.id)
end

-- Loads under lock, lets `change(state)` work on it, writes it when it returns true.
local function change_customer(req, change)
  return db.tx(function(tx)
    local state = rows.pick(tx:one(store.lock, req.params.id) or not_found(req.params.id), FIELDS)
    versions.check(req, state.version)
    if change(state) then
      local now = clock.now()
      state.version, state.updated_at = state.version + 1, now
      tx:write(store.update, state.id, state.version, state.kind, state.name, state.tax_id, state.email, state.phone, address_param(state.address),
        state.owner_id, state.status, now)
      tx:emit("customer.updated", state.id, payload(state, "updated_by", req.user.id))
    end
    return http.ok(rows.shown(state, FIELDS), { etag = state.version })
  end)
end

function customers.patch(req)
  local body = req.body
  return change_customer(req, function(state)
    local is_changed = false
    for _, name in ipairs(CHANGEABLE) do
      local value = body[name]
      if value ~= nil and not (value == NULL and REQUIRED[name]) then
        state[name] = rows.present(value)
        is_changed = true
      end
    end
    return is_changed
  end)
end

local function step(req, action)
  return change_customer(req, function(state)
    state.status = refusal.check(customer.decide(state, { name = action })).changes.status
    return true
  end)
end

function customers.activate(req) return step(req, "activate") end
function customers.deactivate(req) return step(req, "deactivate") end

-- Contacts -------------------------------------------------------------------------------------------------------------------

function customers.contacts(req)
  check_visible(req)
  local owner, found = db.all({ store.get, req.params.id }, { store.contacts, req.params.id })
  if #owner == 0 then not_found(req.params.id) end
  return { data = found, next_cursor = NULL }
end

function customers.add_contact(req)
  local body, id = req.body, uuid.v7()
  db.tx(function(tx)
    if not tx:one(store.lock, req.params.id) then not_found(req.params.id) end
    if body.is_primary then tx:write(store.clear_primary, req.params.id) end
    tx:write(store.insert_contact, id, req.params.id, body.name, rows.present(body.email), rows.present(body.phone), rows.present(body.position),
      body.is_primary,
      clock.now())
  end)
  return http.created({
    id = id, name = body.name, email = body.email or NULL, phone = body.phone or NULL, position = body.position or NULL, is_primary = body.is_primary,
  }, "/api/v1/customers/" .. req.params.id .. "/contacts")
end

-- Interactions ---------------------------------------------------------------------------------------------------------------

function customers.interactions(req)
  check_visible(req)
  local id, limit = req.params.id, req.query.limit
  local at, last = lists.after(req)
  local owner, found = db.all({ store.get, id }, at and { store.interactions, id, at, last, limit } or { store.interactions_first, id, limit })
  if #owner == 0 then not_found(id) end
  return http.page(found, limit, function(row) return { row.occurred_at, row.id } end, req.query)
end

function customers.add_interaction(req)
  local body, id, now = req.body, uuid.v7(), clock.now()
  local occurred_at = body.occurred_at or now
  db.exec(store.insert_interaction, id, req.params.id, body.kind, body.subject, rows.present(body.body), occurred_at, now, req.user.id)
  return http.created({
    id = id, kind = body.kind, subject = body.subject, body = body.body or NULL, occurred_at = occurred_at, created_by = req.user.id,
  }, "/api/v1/customers/" .. req.params.id .. "/interactions")
end

return customers
