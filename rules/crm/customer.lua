-- The life of a customer, and who may be the same as whom: pure decisions.
local decider = require "shama.decider"
local machine = require "shama.machine"

-- A sale makes a LEAD a customer, too.
local life = machine "customer" {
  initial = "LEAD",
  activate = { from = { "LEAD", "INACTIVE" }, to = "ACTIVE", otherwise = "CUSTOMER_STATUS" },
  deactivate = { from = { "LEAD", "ACTIVE" }, to = "INACTIVE", otherwise = "CUSTOMER_STATUS" },
}

local function step() return { changes = {} } end

return decider "customer" { life = life, activate = step, deactivate = step }
