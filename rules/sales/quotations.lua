-- The endpoints of quotations: load the facts, ask the decider, write what it decided; everything of a change in one transaction.
local clock = require "shama.clock"
local config = require "shama.config"
local db = require "shama.db"
local http = require "shama.http"
local json = require "shama.json"
local pdf = require "shama.pdf"
local refusal = require "shama.refusal"
local text = require "shama.text"
local uuid = require "shama.uuid"
local lists = require "shared.lists"
local rows = require "shared.rows"
local versions = require "shared.versions"
local history = require "sales.history"
local payloads = require "sales.payloads"
local policy = require "sales.policy"
local store = require "sales.store"
local draw_quotation = require "sales.templates.quotation"

local NULL = json.null

local quotations = {}

-- Who may see what -----------------------------------------------------------------------------------------------------------

local function is_staff(user) return user.roles.SALES or user.roles.ADMIN end

-- The row, if there is one and the user may see it; what belongs to another customer is not there.
local function visible(row, req)
  if row and (is_staff(req.user) or row.customer_id == req.user.customer_id) then return row end
  return refusal.raise("QUOTATION_NOT_FOUND", { id = req.params.id })
end

-- From rows to tables --------------------------------------------------------------------------------------------------------

local HEADER = {
  "id", "number", "revision", "superseded_by", "status", "customer_id", "customer_name", "currency", "valid_until", "notes", "discount_percent",
    "subtotal",
  "discount_total", "tax_total", "total_amount", "rounding", "created_at", "created_by", "updated_at", "submitted_at", "sold_at", "cancel_reason",
    "version",
}
local LOCKED = { "item_count", "authorized_at" } -- with HEADER: what a decision starts from
for _, name in ipairs(HEADER) do LOCKED[#LOCKED + 1] = name end
local CATALOGUE = { "current_price", "cost", "tax_category", "active" }
local LINE = { "id", "product_id", "product_name", "quantity", "unit_price", "unit_price_snapshot", "discount_percent", "tax_rate", "line_total" }
local CUSTOMER = { "id", "name", "status" }
local NEW_LINE = { "id", "product_id", "product_name", "quantity", "unit_price", "discount_percent", "tax_rate", "line_total" }
local FROZEN_LINE = { "id", "unit_price_snapshot", "line_total" }

local SHAPE = {}
for i, name in ipairs(HEADER) do SHAPE[i] = name end
SHAPE[#SHAPE + 1] = { "items", LINE }

local function answer(state) return json.shaped(state, SHAPE) end

-- The quotation under lock with its lines, and the products of the lines as the catalogue has them now.
local function fetch(tx, req)
  local found, lines = tx:all({ store.lock, req.params.id }, { store.items_and_catalogue, req.params.id })
  local state, products = visible(found:tables(LOCKED)[1], req), {}
  versions.check(req, state.version)
  local items = lines:tables(LINE)
  for i, now in ipairs(lines:tables(CATALOGUE)) do
    local item = items[i]
    if now.current_price then
      products[item.product_id] = { -- a line that is already quoted has its name
        price = now.current_price, cost = now.cost, tax_category = now.tax_category, active = now.active,
      }
    end
  end
  state.items = items
  return state, products
end

local function product_ids(items)
  local ids = {}
  for i = 1, #items do ids[i] = items[i].product_id end
  return ids
end

local function products_of(found, into)
  local products = into or {}
  for _, row in ipairs(found:tables()) do products[row.id] = row end
  return products
end

-- Takes the decided changes over into the state: the next version.
local function apply(state, decided, now)
  local from_status = state.status
  for name, value in pairs(decided.changes) do state[name] = value end
  state.items = decided.items or state.items
  state.version, state.updated_at = state.version + 1, now
  return from_status
end

local function emit(tx, state, event, by, from_status)
  local payload = payloads[event]
  if payload then tx:emit(event, state.id, payload(state, clock.ms(), by, from_status)) end
end

-- Reading --------------------------------------------------------------------------------------------------------------------

function quotations.list(req)
  local query = req.query
  local at, id = lists.after(req)
  local limit, customer_id = query.limit, query.customer_id
  if not is_staff(req.user) then
    if customer_id and customer_id ~= req.user.customer_id then return http.page(json.array {}, limit, lists.key, query) end
    customer_id = req.user.customer_id
  end
  local found
  local is_plain = not (customer_id or query.status or query.from or query.to or query.search)
  if is_plain and at and store.recent_after[limit] then
    found = db.query(store.recent_after[limit], at, id)
  elseif is_plain and not at and store.recent[limit] then
    found = db.query(store.recent[limit])
  else
    local pattern = query.search and "%" .. text.like(text.fold(query.search)) .. "%" or nil
    found = db.query(store.list, query.status, customer_id, query.from, query.to, pattern, at, id, limit)
  end
  return http.page(found, limit, lists.key, query)
end

function quotations.get(req)
  local id = req.params.id
  local found, items = db.all({ store.get, id }, { store.items, id })
  local row = visible(found[1], req)
  row.items = items
  return http.ok(row, { etag = row.version })
end

function quotations.events(req)
  local row = visible(db.one(store.events, req.params.id), req)
  return { data = json.array(row.event_stream), next_cursor = NULL }
end

function quotations.why(req)
  local found, decisions = db.all({ store.exists, req.params.id }, { store.decisions, req.params.id })
  if #found == 0 then refusal.raise("QUOTATION_NOT_FOUND", { id = req.params.id }) end
  return { data = decisions, next_cursor = NULL }
end

function quotations.pdf(req)
  local id = req.params.id
  local found, lines = db.all({ store.get, id }, { store.items, id })
  local document = rows.pick(visible(found[1], req), HEADER)
  document.items = {}
  for i, line in lines:each() do document.items[i] = rows.pick(line, LINE) end
  local brand = { name = config.get("brand.name"), address = config.get("brand.address") } -- the colours are pdf's own business
  local bytes = pdf.render(draw_quotation(document, req.language, brand))
  return http.bytes("application/pdf", bytes, (document.number or "quotation-" .. id:sub(1, 8)) .. ".pdf")
end

-- Making and changing --------------------------------------------------------------------------------------------------------

local function write_items(tx, id, items)
  for _, item in ipairs(items) do item.id = item.id or uuid.v7() end
  tx:write(store.insert_items, id, db.columns(items, NEW_LINE))
end

-- One transaction for a new quotation: `terms` are the command, what its sender may say.
local function make(tx, req, terms)
  local customers, found = tx:all({ store.customer, terms.customer_id }, { store.products, product_ids(terms.items) })
  local facts = {
    today = clock.today(), default_valid_until = clock.date(policy.validity_days), customer = customers:tables(CUSTOMER)[1],
    products = products_of(found),
  }
  local decided, known = history.decide(nil, terms, facts)
  local now, user = clock.now(), req.user.id
  local changes = decided.changes
  local state = {
    id = terms.id, customer_id = terms.customer_id, customer_name = changes.customer_name, status = changes.status, currency = changes.currency,
    valid_until = changes.valid_until, notes = terms.notes, discount_percent = changes.discount_percent, subtotal = changes.subtotal,
    discount_total = changes.discount_total, tax_total = changes.tax_total, total_amount = changes.total_amount, rounding = changes.rounding,
    item_count = changes.item_count, items = decided.items, version = 1, revision = 1, created_at = now, created_by = user, updated_at = now,
  }
  history.record(tx, state.id, "create", now, user, facts, decided, known)
  tx:write(store.insert, state.id, state.customer_id, state.customer_name, state.status, state.currency, state.valid_until, state.notes,
    state.discount_percent, state.subtotal, state.discount_total, state.tax_total, state.total_amount, state.rounding, state.item_count, now, user,
    history.entry(decided.event, now, user))
  write_items(tx, state.id, state.items)
  emit(tx, state, decided.event, user)
  return state
end

local function created(state) return http.created(answer(state), "/api/v1/quotations/" .. state.id, { etag = state.version }) end

function quotations.create(req)
  local body = req.body
  return created(db.tx(function(tx)
    return make(tx, req, {
      name = "create", id = uuid.v7(), customer_id = body.customer_id, items = body.items, currency = body.currency,
      valid_until = rows.present(body.valid_until), notes = rows.present(body.notes), discount_percent = body.discount_percent, user = req.user,
    })
  end))
end

-- A new draft of the same lines, at today's prices.
function quotations.clone(req)
  return created(db.tx(function(tx)
    local source = fetch(tx, req)
    local items = {}
    for i, item in ipairs(source.items) do
      items[i] = { product_id = item.product_id, quantity = item.quantity, discount_percent = item.discount_percent }
    end
    return make(tx, req, {
      name = "create", id = uuid.v7(), customer_id = source.customer_id, items = items, currency = source.currency, notes = source.notes,
      discount_percent = source.discount_percent, user = req.user,
    })
  end))
end

-- Changes a draft. change(state) returns the command's fields, `items` among them when the lines change.
local function edit(req, change)
  return db.tx(function(tx)
    local state, products = fetch(tx, req)
    local command = change(state)
    if command.items then products_of(tx:query(store.products, product_ids(command.items)), products) end
    command.name, command.user = "edit", req.user
    local facts = { today = clock.today(), products = products }
    local decided, known = history.decide(state, command, facts)
    local now, user = clock.now(), req.user.id
    history.record(tx, state.id, "edit", now, user, facts, decided, known)
    apply(state, decided, now)
    if command.has_notes then state.notes = command.notes end
    if command.has_valid_until then state.valid_until = command.valid_until end
    state.currency = command.currency or state.currency
    tx:write(store.delete_items, state.id)
    write_items(tx, state.id, state.items)
    tx:write(store.update_terms, state.id, state.version, state.valid_until, state.notes, state.currency, state.discount_percent, state.subtotal,
      state.discount_total, state.tax_total, state.total_amount, state.rounding, state.item_count, now, history.entry(decided.event, now, user))
    return http.ok(answer(state), { etag = state.version })
  end)
end

function quotations.patch(req)
  local body = req.body
  return edit(req, function()
    return {
      discount_percent = body.discount_percent, currency = body.currency, items = body.items, notes = rows.present(body.notes),
        has_notes = body.notes ~= nil,
      valid_until = rows.present(body.valid_until), has_valid_until = body.valid_until ~= nil,
    }
  end)
end

function quotations.replace_items(req)
  return edit(req, function() return { items = req.body.items } end)
end

function quotations.add_item(req)
  return edit(req, function(state)
    if #state.items >= 100 then refusal.raise("TOO_MANY_ITEMS", { max = 100 }) end
    local items = state.items
    items[#items + 1] = req.body
    return { items = items }
  end)
end

local function find_item(state, id)
  for i, item in ipairs(state.items) do
    if item.id == id then return i end
  end
  return refusal.raise("ITEM_NOT_FOUND", { id = id })
end

function quotations.patch_item(req)
  return edit(req, function(state)
    local item, body = state.items[find_item(state, req.params.item_id)], req.body
    item.quantity = body.quantity or item.quantity
    item.discount_percent = body.discount_percent or item.discount_percent
    return { items = state.items }
  end)
end

function quotations.remove_item(req)
  return edit(req, function(state)
    table.remove(state.items, find_item(state, req.params.item_id))
    if #state.items == 0 then refusal.raise("LAST_ITEM") end
    return { items = state.items }
  end)
end

function quotations.delete(req)
  db.tx(function(tx)
    local state = fetch(tx, req)
    if state.number then refusal.raise("QUOTATION_NUMBERED", { number = state.number }) end
    if state.status ~= "DRAFT" then refusal.raise("QUOTATION_NOT_DRAFT", { status = state.status }) end
    tx:write(store.delete, state.id)
  end)
end

-- Its life -------------------------------------------------------------------------------------------------------------------

-- One step: decides, records, applies. write(tx, state, decided, now) stores it. Returns the answer.
local function step(req, command, write)
  return db.tx(function(tx)
    local state, products = fetch(tx, req)
    command.user = req.user
    local facts = { today = clock.today(), products = products }
    local decided, known = history.decide(state, command, facts)
    local now, user = clock.now(), req.user.id
    history.record(tx, state.id, command.name, now, user, facts, decided, known)
    local from_status = apply(state, decided, now)
    write(tx, state, decided, now)
    emit(tx, state, decided.event, user, from_status)
    return http.ok(answer(state), { etag = state.version })
  end)
end

local function move(tx, state, decided, now, by)
  tx:write(store.move, state.id, state.version, state.status, now, state.status == "PENDING" and now or nil, state.cancel_reason,
    history.entry(decided.event, now, by))
end

function quotations.submit(req)
  return step(req, { name = "submit" }, function(tx, state, decided, now)
    state.submitted_at = now
    move(tx, state, decided, now, req.user.id)
    if decided.needs_number then
      local year = now:sub(1, 4)
      state.number = tx:one(store.give_number, state.id, tonumber(year), policy.number_prefix .. "-" .. year .. "-").number
    end
  end)
end

function quotations.approve(req)
  return step(req, { name = "approve" }, function(tx, state, decided, now)
    tx:write(store.freeze_items, state.id, db.columns(state.items, FROZEN_LINE))
    tx:write(store.sell, state.id, state.version, state.subtotal, state.discount_total, state.tax_total, state.total_amount, now,
      history.entry(decided.event, now, req.user.id))
    state.sold_at = now
  end)
end

-- `return` is a keyword.
function quotations.send_back(req)
  return step(req, { name = "send_back" }, function(tx, state, decided, now) move(tx, state, decided, now, req.user.id) end)
end

function quotations.cancel(req)
  return step(req, { name = "cancel", reason = req.body.reason }, function(tx, state, decided, now) move(tx, state, decided, now, req.user.id) end)
end

function quotations.authorize(req)
  return step(req, { name = "authorize" }, function(tx, state, decided, now)
    tx:write(store.authorize, state.id, state.version, now, req.user.id, history.entry(decided.event, now, req.user.id))
  end)
end

-- Sold, but the stock is not there: for the events. Does nothing to a quotation that is no longer SOLD. reason_of(state) -> text.
function quotations.compensate(tx, id, reason_of)
  local found, lines = tx:all({ store.lock, id }, { store.items, id })
  if not found[1] or found[1].status ~= "SOLD" then return end
  local state = rows.pick(found[1], HEADER)
  state.items = {}
  for i, line in lines:each() do state.items[i] = rows.pick(line, LINE) end
  local reason = reason_of(state)
  local decided, known = history.decide(state, { name = "compensate", reason = reason }, {})
  local now = clock.now()
  history.record(tx, id, "compensate", now, nil, { reason = reason }, decided, known)
  local from_status = apply(state, decided, now)
  move(tx, state, decided, now, nil)
  emit(tx, state, decided.event, nil, from_status)
end

return quotations
