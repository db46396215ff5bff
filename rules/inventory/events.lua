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

-- Events of quotations that nothing became of yet, each quotation once; and the products of their lines, by id.
local function fetch(tx, events, now)
  local product_ids, quotation_ids, seen = {}, {}, {}
  for i, event in ipairs(events) do
    quotation_ids[i] = event.payload.quotation_id
    for _, line in ipairs(event.payload.line_items or {}) do
      if not seen[line.product_id] then
        seen[line.product_id] = true
        product_ids[#product_ids + 1] = line.product_id
      end
    end
  end
  local rows, claimed = tx:all({ store.lock_many, product_ids }, { store.claim, quotation_ids, now })
  local products, is_claimed, fresh = {}, {}, {}
  for _, row in ipairs(rows:tables()) do products[row.id] = row end
  for _, row in ipairs(claimed:tables()) do is_claimed[row.quotation_id] = true end
  for _, event in ipairs(events) do
    local id = event.payload.quotation_id
    if is_claimed[id] then
      is_claimed[id] = nil
      fresh[#fresh + 1] = event
    end
  end
  return fresh, products
end

local function add_sales(ledger, payload, reduced)
  for _, line in ipairs(reduced) do
    local n = #ledger.ids + 1
    ledger.ids[n], ledger.products[n], ledger.quantities[n] = uuid.v7(), line.product_id, line.quantity
    ledger.references[n], ledger.quotations[n], ledger.items[n] = payload.number or "", payload.quotation_id, line.item_id
  end
end

local function tell(tx, payload, decided, products, now_ms)
  local id, version = payload.quotation_id, payload.version
  if decided.short then
    tx:emit("stock.rejected", id, { quotation_id = id, lines = decided.short, timestamp = now_ms, version = version })
    return
  end
  tx:emit("stock.reduced", id, { quotation_id = id, lines = decided.reduced, timestamp = now_ms, version = version })
  for _, product_id in ipairs(decided.low) do
    tx:emit("stock.low", product_id, payloads.low(products[product_id], decided.after[product_id], now_ms))
  end
end

function arrivals.quotations_approved(tx, events)
  local now, now_ms = clock.now(), clock.ms()
  local fresh, products = fetch(tx, events, now)
  local ledger = { ids = {}, products = {}, quantities = {}, references = {}, quotations = {}, items = {} }
  local rejected = {}
  for _, event in ipairs(fresh) do
    local payload = event.payload
    local decided = stock.decide(products, { name = "sell", lines = payload.line_items or {} })
    if decided.short then
      rejected[#rejected + 1] = payload.quotation_id
    else
      add_sales(ledger, payload, decided.reduced)
      for id, on_hand in pairs(decided.after) do products[id].stock_on_hand = on_hand end
    end
    tell(tx, payload, decided, products, now_ms)
  end
  if rejected[1] then tx:write(store.reject, rejected) end
  if ledger.ids[1] then
    tx:write(store.insert_sales, ledger.ids, ledger.products, ledger.quantities, ledger.references, ledger.quotations, ledger.items, now)
  end
end

return arrivals
