---@meta shama.machine
-- The life of a thing as a table of edges. Pure.

---@class shama.Edge
---@field from string|string[]
---@field to string
---@field otherwise? string the refusal when the thing is in another state; INVALID_TRANSITION when left out

---@class shama.Machine
---@field name string
---@field initial string
local Machine = {}

---The state after `action`, or nil and a refusal.
---@param state string
---@param action string
---@return string?
---@return shama.Refusal?
function Machine:next(state, action) end

---@param action string
---@return boolean
function Machine:has(action) end

---@return { action: string, from: string, to: string }[]
function Machine:transitions() end

---@class shama.Life
---@field initial string where it begins
---@field final? string|string[] states that nothing leaves; `shama check` complains of others without a way out
---@field [string] shama.Edge|string|string[]

---machine "quotation" { initial = "DRAFT", submit = { from = "DRAFT", to = "PENDING" } }
---@param name string
---@return fun(definition: shama.Life): shama.Machine
local function machine(name) end

return machine
