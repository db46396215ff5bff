-- Decides again what was decided: a record of sales.decisions is all it takes. For specs, and for trying a candidate's rules on last month's cases.
--
--   local result, refused = replay.decide(known)              -- with the policy values of that time
--   local result, refused = replay.decide(known, policy)      -- with others
local decimal = require "shama.decimal"
local json = require "shama.json"
local quotation = require "sales.quotation"

-- JSON shows a decimal as text: where they stand.
local MONEY = {
  discount_percent = true, subtotal = true, discount_total = true, tax_total = true, total_amount = true, unit_price = true, price = true,
  unit_price_snapshot = true, tax_rate = true, line_total = true, cost = true, margin_min_percent = true, price_drift_limit = true,
}
local TABLES_OF_MONEY = { tax_rates = true, discount_limits = true }

local function revive(value, is_money)
  if type(value) == "string" and is_money then return decimal(value) end
  if type(value) ~= "table" then return value end
  local to = {}
  for name, member in pairs(value) do
    if TABLES_OF_MONEY[name] then
      to[name] = {}
      for key, amount in pairs(member) do to[name][key] = decimal(amount) end
    elseif member ~= json.null then
      to[name] = revive(member, MONEY[name])
    end
  end
  return to
end

local replay = {}

-- nil when the record was too large to be kept (policy.decision_bytes_max).
function replay.is_complete(known) return known ~= nil and known.dropped_bytes == nil end

function replay.decide(known, policy)
  if not replay.is_complete(known) then error("replay: the record was too large to be kept", 2) end
  return quotation.decide(revive(known.state), revive(known.command), revive(known.facts), policy or revive(known.policy))
end

return replay
