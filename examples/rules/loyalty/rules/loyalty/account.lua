-- The endpoint of a customer's points.
local db = require "shama.db"
local refusal = require "shama.refusal"
local points = require "loyalty.points"
local policy = require "loyalty.policy"
local store = require "loyalty.store"

local account = {}

local function not_found(id) return refusal.raise("CUSTOMER_NOT_FOUND", { id = id }) end

-- A CUSTOMER sees its own points, and nobody else's.
function account.get(req)
  local user, id = req.user, req.params.customer_id
  if not (user.roles.SALES or user.roles.ADMIN) and user.customer_id ~= id then not_found(id) end
  local customers, balances = db.all({ store.customer, id }, { store.balance, id })
  local customer, balance = customers[1] or not_found(id), balances[1]
  return {
    customer_id = customer.id,
    name = customer.name,
    points = balance.points,
    sales = balance.sales,
    level = points.decide({ points = balance.points }, { name = "rank" }, {}, policy).level,
  }
end

return account
