---@meta shama.refusal
-- Saying no. Pure.

---@class shama.Refusal
---@field code string
---@field params table?

---refusal("CODE", { limit = 10 }): a value, for a decider to return behind nil.
---@class shama.refusal
---@overload fun(code: string, params?: table): shama.Refusal
local refusal = {}

---@param code string of the manifest's `refusals`
---@param params? table fills {names} of the message; `errors` become the problem's errors
---@return shama.Refusal
function refusal.new(code, params) end

---Ends the task with this refusal.
---@param code string
---@param params? table
function refusal.raise(code, params) end

---Raises what a decider refused, else returns its result: refusal.check(quotation.decide(...))
---@generic T
---@param result T?
---@param refused? shama.Refusal
---@return T
function refusal.check(result, refused) end

---@param value any
---@return boolean
function refusal.is(value) end

return refusal
