-- What inventory does when a quotation is sold: the lines leave the stock, all or none.
--
-- Many events are one transaction: their products are locked by one statement, each event is decided by what the ones before it
-- left, and the ledger rows of all go in by one statement.
local clock = require "shama.clock"
local uuid = require "shama.uuid"
local payloads = require "inventory.payloads"
local stock = require "inventory.stock"
local store = require "inventory.store"

local arrivals = {}

local DECIDED_BY = { "id", "stock_on_hand", "reorder_level" } -- of a product; the rest is looked at when it is told of

-- The products of the events' lines, each once, and the events' quotations.
local function ids_of(events)
  local product_ids, quotation_ids, seen = {}, {}, {}
  for i = 1, #events do
    local payload = events[i].payload
    local lines = payload.line_items
    quotation_ids[i] = payload.quotation_id
    for k = 1, #lines do
      local id = lines[k].product_id
      if not seen[id] then
        seen[id], product_ids[#product_ids + 1] = true, id
      end
    end
  end
  return product_ids, quotation_ids
end

-- Events of quotations that nothing became of yet, each quotation once; and the products of their lines, by id.
local function fetch(tx, events, now)
  local product_ids, quotation_ids = ids_of(events)
  local rows, claimed = tx:all({ store.lock_many, product_ids }, { store.claim, quotation_ids, now })
  local products, is_claimed, fresh = {}, {}, {}
  local found = rows:tables(DECIDED_BY)
  for i = 1, #found do
    local product = found[i]
    product.row, products[product.id] = i, product
  end
  for _, row in ipairs(claimed:tables()) do is_claimed[row.quotation_id] = true end
  for i = 1, #events do
    local id = quotation_ids[i]
    if is_claimed[id] then
      is_claimed[id], fresh[#fresh + 1] = nil, events[i]
    end
  end
  return fresh, products, rows
end

local function add_sales(ledger, payload, reduced)
  local number, quotation_id, n = payload.number, payload.quotation_id, #ledger.ids
  for i = 1, #reduced do
    local line = reduced[i]
    n = n + 1
    ledger.ids[n], ledger.products[n], ledger.quantities[n] = uuid.v7(), line.product_id, line.quantity
    ledger.references[n], ledger.quotations[n], ledger.items[n] = number, quotation_id, line.item_id
  end
end

local function tell(tx, payload, decided, products, rows, now_ms)
  local id, version = payload.quotation_id, payload.version
  if decided.short then
    tx:emit("stock.rejected", id, { quotation_id = id, lines = decided.short, timestamp = now_ms, version = version })
    return
  end
  tx:emit("stock.reduced", id, { quotation_id = id, lines = decided.reduced, timestamp = now_ms, version = version })
  for _, product_id in ipairs(decided.low) do
    tx:emit("stock.low", product_id, payloads.low(rows[products[product_id].row], decided.after[product_id], now_ms))
  end
end

function arrivals.quotations_approved(tx, events)
  local now, now_ms = clock.now(), clock.ms()
  local fresh, products, rows = fetch(tx, events, now)
  local ledger = { ids = {}, products = {}, quantities = {}, references = {}, quotations = {}, items = {} }
  local rejected = {}
  for i = 1, #fresh do
    local payload = fresh[i].payload
    local decided = stock.decide(products, { name = "sell", lines = payload.line_items })
    if decided.short then
      rejected[#rejected + 1] = payload.quotation_id
    else
      add_sales(ledger, payload, decided.reduced)
      for id, on_hand in pairs(decided.after) do products[id].stock_on_hand = on_hand end
    end
    tell(tx, payload, decided, products, rows, now_ms)
  end
  if rejected[1] then tx:write(store.reject, rejected) end
  if ledger.ids[1] then
    tx:write(store.insert_sales, ledger.ids, ledger.products, ledger.quantities, ledger.references, ledger.quotations, ledger.items, now)
  end
end

return arrivals
