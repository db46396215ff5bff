---@meta shama.decider
-- Business decisions as pure functions. A module that requires this may use pure modules only.

---@class shama.Command
---@field name string
---@field [string] any

---@class shama.Decider
---@field name string
---@field life shama.Machine?
local Decider = {}

---@param state table? what it is about; nil when it is to be made
---@param command shama.Command
---@param facts? table what is known
---@param policy? table the numbers
---@return table? result
---@return shama.Refusal? refused
function Decider.decide(state, command, facts, policy) end

---@alias shama.decide fun(state: table?, command: shama.Command, facts: table?, policy: table?): table?, shama.Refusal?

---decider "quotation" { life = life, create = function(state, command, facts, policy) ... end }
---@param name string
---@return fun(definition: table<string, shama.decide|shama.Machine>): shama.Decider
local function decider(name) end

return decider
