-- gate
-- The stock: what each kind of movement does, and that a sale takes all of its lines or none.
local stock = require "inventory.stock"

local function product(on_hand, level) return { id = "p", stock_on_hand = on_hand, reorder_level = level or 0 } end
local function move(state, kind, quantity) return stock.decide(state, { name = "move", kind = kind, quantity = quantity }) end
local function sell(products, lines) return stock.decide(products, { name = "sell", lines = lines }) end

describe("a movement", function()
  local EXPECTED = { { "RECEIPT", 5, 5 }, { "ISSUE", 5, -5 }, { "ADJUSTMENT", -5, -5 }, { "ADJUSTMENT", 5, 5 }, { "RETURN", 5, 5 }, { "SALE", 5,
    -5 } }
  for _, case in ipairs(EXPECTED) do
    it(("%s of %d counts %d"):format(unpack(case)), function()
      local result = assert(move(product(10), case[1], case[2]))
      assert.equal(case[3], result.signed_quantity)
      assert.equal(10 + case[3], result.changes.stock_on_hand)
    end)
  end

  it("never goes below zero", function()
    assert(move(product(10), "ISSUE", 10))
    local result, refusal = move(product(10), "ISSUE", 11)
    assert.is_nil(result)
    assert.equal("NOT_ENOUGH_STOCK", refusal.code)
    assert.equal(10, refusal.params.available)
  end)

  it("is positive, and an adjustment not zero", function()
    for _, case in ipairs { { "RECEIPT", 0 }, { "RECEIPT", -1 }, { "ISSUE", -1 }, { "ADJUSTMENT", 0 }, { "RECEIPT", 2000000000 } } do
      local _, refusal = move(product(10), case[1], case[2])
      assert.equal("BAD_QUANTITY", refusal.code)
    end
  end)

  it("is low once, when it crosses the level", function()
    assert.is_true(move(product(10, 5), "ISSUE", 5).is_low)
    assert.is_false(move(product(5, 5), "ISSUE", 1).is_low)
    assert.is_false(move(product(3, 5), "RECEIPT", 1).is_low)
  end)
end)

describe("a sale", function()
  local function products() return { a = product(10, 8), b = product(1) } end

  it("takes all lines", function()
    local result = sell(products(), { { product_id = "a", quantity = 3, item_id = "i1" }, { product_id = "b", quantity = 1, item_id = "i2" } })
    assert.same({ { product_id = "a", quantity = 3, item_id = "i1", stock_on_hand = 7 }, { product_id = "b", quantity = 1, item_id = "i2",
      stock_on_hand = 0 } },
      result.reduced)
    assert.same({ a = 7, b = 0 }, result.after)
    assert.same({ "a", "b" }, result.low)
  end)

  it("takes none when one is short, and tells which", function()
    local state = products()
    local result = sell(state, { { product_id = "a", quantity = 3, item_id = "i1" }, { product_id = "b", quantity = 2, item_id = "i2" } })
    assert.is_nil(result.reduced)
    assert.same({ { product_id = "b", requested = 2, available = 1, item_id = "i2" } }, result.short)
    assert.equal(10, state.a.stock_on_hand)
  end)

  it("adds up lines of the same product", function()
    assert.is_table(sell(products(), { { product_id = "a", quantity = 6 }, { product_id = "a", quantity = 5 } }).short)
    assert.equal(0, sell(products(), { { product_id = "a", quantity = 6 }, { product_id = "a", quantity = 4 } }).after.a)
  end)

  it("is short of a product that is not there", function()
    assert.equal(0, sell(products(), { { product_id = "z", quantity = 1 } }).short[1].available)
  end)
end)
