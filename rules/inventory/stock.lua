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

-- The lines whose product would fall below nothing, as `after` has it.
local function short_lines(products, lines, after)
  local short = {}
  for _, line in ipairs(lines) do
    local product = products[line.product_id]
    if after[line.product_id] < 0 then
      short[#short + 1] = { product_id = line.product_id, requested = line.quantity, available = product and product.stock_on_hand or 0,
        item_id = line.item_id }
    end
  end
  return short
end

-- A sold quotation: all lines leave the stock, or none does. `products` are those of its lines, by id.
-- -> { reduced = { { product_id, quantity, item_id, stock_on_hand } }, after = { [id] = on hand }, low = { ids } } or { short = { ... } }
local function sell(products, command)
  local lines, after, order, reduced, is_short = command.lines, {}, {}, {}, false
  for i = 1, #lines do
    local line = lines[i]
    local id = line.product_id
    local left = after[id]
    if not left then
      local product = products[id]
      left, order[#order + 1] = product and product.stock_on_hand or 0, id
    end
    left = left - line.quantity
    if left < 0 then is_short = true end
    after[id], reduced[i] = left, { product_id = id, quantity = line.quantity, item_id = line.item_id, stock_on_hand = left }
  end
  if is_short then return { short = short_lines(products, lines, after) } end

  local low = {}
  for i = 1, #order do
    local id = order[i]
    local product = products[id]
    if crosses(product.stock_on_hand, after[id], product.reorder_level) then low[#low + 1] = id end
  end
  return { reduced = reduced, after = after, low = low }
end

return decider "stock" { move = move, sell = sell }
