-- gate
-- The life of a customer against a matrix written out by hand.
local customer = require "crm.customer"

describe("the life of a customer", function()
  local EXPECTED = {
    activate = { LEAD = "ACTIVE", ACTIVE = "CUSTOMER_STATUS", INACTIVE = "ACTIVE" },
    deactivate = { LEAD = "INACTIVE", ACTIVE = "INACTIVE", INACTIVE = "CUSTOMER_STATUS" },
  }
  for action, outcomes in pairs(EXPECTED) do
    for status, outcome in pairs(outcomes) do
      it(("%s from %s gives %s"):format(action, status, outcome), function()
        local result, refusal = customer.decide({ status = status }, { name = action })
        if result then assert.equal(outcome, result.changes.status) else assert.equal(outcome, refusal.code) end
      end)
    end
  end

  it("begins as LEAD", function() assert.equal("LEAD", customer.life.initial) end)
end)
