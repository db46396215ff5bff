-- The endpoints of the catalogue and of the stock ledger.
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
local payloads = require "inventory.payloads"
local stock = require "inventory.stock"
local store = require "inventory.store"

local NULL = json.null
local FIELDS = {
  "id", "sku", "name", "description", "category", "unit", "price", "cost", "tax_category", "reorder_level", "active", "stock_on_hand",
    "stock_reserved",
  "stock_available", "created_at", "updated_at", "version",
}
local CHANGEABLE = { "sku", "name", "description", "category", "unit", "price", "cost", "tax_category", "reorder_level", "active" }
local TEXT_OPTIONAL = { description = true, category = true, cost = true }

local products = {}

-- A customer sees the catalogue, not the stock and not what things cost us.
local function is_staff(user) return user.roles.ADMIN or user.roles.SALES or user.roles.INVENTORY end

local function existing(row, req)
  if row then return row end
  return refusal.raise("PRODUCT_NOT_FOUND", { id = req.params.id })
end

function products.list(req)
  local query, staff = req.query, is_staff(req.user)
  local at, id = lists.after(req)
  local active = query.active
  if not staff then active = true end
  local pattern = query.search and "%" .. text.like(text.fold(query.search)) .. "%" or nil
  local low_stock = staff and query.low_stock or false
  local found = db.query(staff and store.list or store.list_public, pattern, query.category, active, low_stock, at, id, query.limit)
  return http.page(found, query.limit, lists.key, query)
end

function products.get(req)
  local row = existing(db.one(is_staff(req.user) and store.get or store.get_public, req.params.id), req)
  return http.ok(row, { etag = row.version })
end

function products.create(req)
  local body, now = req.body, clock.now()
  local product = {
    id = uuid.v7(), sku = text.trim(body.sku), name = text.trim(body.name), description = rows.present(body.description),
      category = rows.present(body.category),
    unit = body.unit, price = body.price, cost = rows.present(body.cost), tax_category = body.tax_category, reorder_level = body.reorder_level,
    active = body.active, stock_on_hand = 0, stock_reserved = 0, stock_available = 0, created_at = now, updated_at = now, version = 1,
  }
  db.tx(function(tx)
    tx:write(store.insert, product.id, product.sku, product.name, product.description, product.category, product.unit, product.price, product.cost,
      product.tax_category, product.reorder_level, product.active, now)
    tx:write(store.insert_price, uuid.v7(), product.id, product.price, nil, now, req.user.id)
    tx:emit("product.created", product.id, payloads.product(product, clock.ms(), "created_by", req.user.id))
  end)
  return http.created(rows.shown(product, FIELDS), "/api/v1/products/" .. product.id)
end

-- What the body says is taken over; true when anything but the price, and the price before when it changed.
local function change(product, body)
  local is_changed, previous = false, nil
  for _, name in ipairs(CHANGEABLE) do
    local value = body[name]
    if value ~= nil and (value ~= NULL or TEXT_OPTIONAL[name]) then
      value = rows.present(value)
      if name == "price" and value ~= product.price then previous = product.price
      elseif value ~= product[name] then is_changed = true end
      product[name] = value
    end
  end
  return is_changed, previous
end

local function save(tx, product, body, user)
  local is_changed, previous = change(product, body)
  if not is_changed and not previous then return end
  local now = clock.now()
  product.version, product.updated_at = product.version + 1, now
  tx:write(store.update, product.id, product.version, product.sku, product.name, product.description, product.category, product.unit, product.price,
    product.cost, product.tax_category, product.reorder_level, product.active, now)
  if previous then
    tx:write(store.insert_price, uuid.v7(), product.id, product.price, previous, now, user.id)
    tx:emit("product.price_changed", product.id, payloads.price_changed(product, previous, clock.ms(), user.id))
  end
  if is_changed then tx:emit("product.updated", product.id, payloads.product(product, clock.ms(), "updated_by", user.id)) end
end

local function change_product(req, body)
  return db.tx(function(tx)
    local product = rows.pick(existing(tx:one(store.lock, req.params.id), req), FIELDS)
    versions.check(req, product.version)
    save(tx, product, body, req.user)
    return http.ok(rows.shown(product, FIELDS), { etag = product.version })
  end)
end

-- The price is the ADMIN's to set.
function products.patch(req)
  if req.body.price and not req.user.roles.ADMIN then refusal.raise("PRICE_NEEDS_ADMIN") end
  return change_product(req, req.body)
end

function products.set_price(req) return change_product(req, { price = req.body.price }) end

function products.deactivate(req)
  change_product(req, { active = false })
end

function products.prices(req)
  local at, id = lists.after(req)
  local product, found = db.all({ store.get, req.params.id }, at and { store.prices, req.params.id, at, id, req.query.limit } or
    { store.prices_first, req.params.id, req.query.limit })
  existing(product[1], req)
  return http.page(found, req.query.limit, function(row) return { row.changed_at, row.id } end, req.query)
end

-- The ledger -----------------------------------------------------------------------------------------------------------------

function products.movements(req)
  local at, id = lists.after(req)
  local product, found = db.all({ store.get, req.params.id }, at and { store.movements, req.params.id, at, id, req.query.limit } or
    { store.movements_first, req.params.id, req.query.limit })
  existing(product[1], req)
  return http.page(found, req.query.limit, lists.key, req.query)
end

function products.move(req)
  local body = req.body
  return db.tx(function(tx)
    local product = existing(tx:one(store.lock, req.params.id), req)
    local decided = refusal.check(stock.decide(product, { name = "move", kind = body.kind, quantity = body.quantity }))
    local id, now = uuid.v7(), clock.now()
    local reason, reference = rows.present(body.reason), rows.present(body.reference)
    tx:write(store.insert_movement, id, product.id, body.kind, body.quantity, decided.signed_quantity, reason, reference, now, req.user.id)
    if decided.is_low then tx:emit("stock.low", product.id, payloads.low(product, decided.changes.stock_on_hand, clock.ms())) end
    return http.created({
      id = id, product_id = product.id, kind = body.kind, quantity = body.quantity, signed_quantity = decided.signed_quantity,
      reason = reason or NULL, reference = reference or NULL, created_at = now, created_by = req.user.id,
    }, "/api/v1/products/" .. product.id .. "/stock-movements")
  end)
end

return products
