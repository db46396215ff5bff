-- What a movement and a sale do to the stock: pure decisions.
local decider = require "shama.decider"
local refusal = require "shama.refusal"

-- Which way a kind of movement counts; ADJUSTMENT brings its own sign.
local SIGN = { RECEIPT = 1, RETURN = 1, ISSUE = -1, SALE = -1, ADJUSTMENT = 1 }
local QUANTITY_MAX = 2000000000 -- an integer column

local function crosses(before, after, level) return before > level and after <= level end

-- command { kind, quantity }, state the product -> { signed_quantity, changes = { stock_on_hand }, is_low }
local function move(product, command)
  local kind, quantity = command.kind, command.quantity
  if quantity == 0 or (quantity < 0 and kind ~= "ADJUSTMENT") then
    return nil, refusal("BAD_QUANTITY", { errors = { { pointer = "/quantity", code = "BAD_QUANTITY" } } })
  end
  local signed = SIGN[kind] * quantity
  local after = product.stock_on_hand + signed
  if after < 0 then return nil, refusal("NOT_ENOUGH_STOCK", { available = product.stock_on_hand }) end
  if after > QUANTITY_MAX then return nil, refusal("BAD_QUANTITY", { errors = { { pointer = "/quantity", code = "BAD_QUANTITY" } } }) end
  return {
    signed_quantity = signed,
    changes = { stock_on_hand = after },
    is_low = crosses(product.stock_on_hand, after, product.reorder_level),
  }
end

-- A sold quotation: all lines leave the stock, or none does. `products` are those of its lines, by id.
-- -> { reduced = { { product_id, quantity, item_id, stock_on_hand } }, after = { [id] = on hand }, low = { ids } } or { short = { ... } }
local function sell(products, command)
  local after, wanted, order = {}, {}, {}
  for _, line in ipairs(command.lines) do
    local id = line.product_id
    if not wanted[id] then
      wanted[id], order[#order + 1] = 0, id
    end
    wanted[id] = wanted[id] + line.quantity
  end
  local short_ids, short = {}, {}
  for _, id in ipairs(order) do
    local product = products[id]
    local on_hand = product and product.stock_on_hand or 0
    if on_hand < wanted[id] then short_ids[id] = on_hand end
  end
  for _, line in ipairs(command.lines) do
    local available = short_ids[line.product_id]
    if available then
      short[#short + 1] = { product_id = line.product_id, requested = line.quantity, available = available, item_id = line.item_id }
    end
  end
  if short[1] then return { short = short } end

  local reduced, low = {}, {}
  for i, line in ipairs(command.lines) do
    local id = line.product_id
    after[id] = (after[id] or products[id].stock_on_hand) - line.quantity
    reduced[i] = { product_id = id, quantity = line.quantity, item_id = line.item_id, stock_on_hand = after[id] }
  end
  for _, id in ipairs(order) do
    if crosses(products[id].stock_on_hand, after[id], products[id].reorder_level) then low[#low + 1] = id end
  end
  return { reduced = reduced, after = after, low = low }
end

return decider "stock" { move = move, sell = sell }
