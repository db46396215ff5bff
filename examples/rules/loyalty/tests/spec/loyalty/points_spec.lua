-- gate
-- Points: whole ones only, and the level that they give.
local decimal = require "shama.decimal"
local points = require "loyalty.points"
local policy = require "loyalty.policy"

local function earned(total) return points.decide(nil, { name = "earn", total = decimal(total) }, {}, policy).points end
local function level(n) return points.decide({ points = n }, { name = "rank" }, {}, policy).level end

describe("points", function()
  it("are earned for every whole ten", function()
    assert.equal(0, earned("9.99"))
    assert.equal(1, earned("10.00"))
    assert.equal(12, earned("129.99"))
    assert.equal(0, earned("0.00"))
  end)

  it("lift a customer to a level", function()
    assert.equal("BASIC", level(0))
    assert.equal("BASIC", level(99))
    assert.equal("SILVER", level(100))
    assert.equal("GOLD", level(1000))
  end)
end)
