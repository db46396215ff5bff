-- Saying no: a refusal is a value that a decider returns and an action raises; the host turns it into a problem for the caller.
--
-- A refusal is { __refusal = true, code =, params =, status = }. The status comes from the manifest's `refusals`; only the library's own codes
-- (BAD_CURSOR, INVALID_TRANSITION) bring one with them.
local Refusal = { __metatable = false } -- shared by all refusals: nobody may reach it
function Refusal.__tostring(self) return "refusal " .. self.code end

local STATUS = { BAD_CURSOR = 400, INVALID_TRANSITION = 409 }

local refusal = {}

local function new(code, params)
  if type(code) ~= "string" or not code:find("^[%u][%u%d_]*$") then
    error("refusal: a code is written in capitals, like \"QUOTATION_NOT_PENDING\"", 3)
  end
  return setmetatable({ __refusal = true, code = code, params = params, status = STATUS[code] }, Refusal)
end

function refusal.is(value) return type(value) == "table" and rawget(value, "__refusal") == true end

function refusal.new(code, params) return new(code, params) end

-- Ends the task with this refusal.
function refusal.raise(code, params) error(new(code, params), 0) end

-- Raises what a decider refused, else returns its result: local decided = refusal.check(quotation.decide(...))
function refusal.check(result, refused)
  if result == nil then
    if refusal.is(refused) then error(refused, 0) end
    error("refusal.check: neither a result nor a refusal; does the decider return something on every way?", 2)
  end
  return result
end

return setmetatable(refusal, { __call = function(_, code, params) return new(code, params) end })
