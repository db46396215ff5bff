-- What a sale earns, and what points are worth: pure decisions.
local decider = require "shama.decider"

-- Whole points; what is left of an amount earns nothing.
local function earn(_, command, _, policy)
  local whole = command.total:div(policy.amount_per_point, 0, "down")
  return { points = tonumber(tostring(whole)) }
end

local function rank(state, _, _, policy)
  for _, level in ipairs(policy.levels) do
    if state.points >= level.from then return { level = level.name } end
  end
end

return decider "points" { earn = earn, rank = rank }
