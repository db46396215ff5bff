-- What may be changed about a user, and what a refresh token is good for: pure decisions.
local decider = require "shama.decider"
local refusal = require "shama.refusal"

local function has(roles, role)
  for _, one in ipairs(roles) do
    if one == role then return true end
  end
  return false
end

local function check(user)
  if has(user.roles, "CUSTOMER") and not user.customer_id then
    return refusal("CUSTOMER_ID_NEEDED", { errors = { { pointer = "/customer_id", code = "CUSTOMER_ID_NEEDED" } } })
  end
  if user.customer_id and not has(user.roles, "CUSTOMER") then
    return refusal("CUSTOMER_ID_UNFIT", { errors = { { pointer = "/customer_id", code = "CUSTOMER_ID_UNFIT" } } })
  end
end

local function create(_, command)
  local refused = check(command.user)
  if refused then return nil, refused end
  return { changes = command.user }
end

-- `command.changes` are the fields that change. An administrator cannot lock itself out.
local function change(user, command)
  local after = { roles = user.roles, customer_id = user.customer_id }
  for name, value in pairs(command.changes) do after[name] = value end
  if command.removes_customer then after.customer_id = nil end
  local refused = check(after)
  if refused then return nil, refused end
  if command.by == user.id and (after.disabled or not has(after.roles, "ADMIN")) then return nil, refusal("CANNOT_LOCK_SELF_OUT") end
  return { changes = command.changes, ends_sessions = after.disabled == true or command.changes.password_hash ~= nil }
end

-- state: the stored token { rotated_at, revoked_at, is_expired, disabled }
-- -> { rotates = true } or { revokes = true }: a token that was rotated before comes a second time, so somebody else has it.
local function refresh(token)
  if not token or token.revoked_at or token.is_expired or token.disabled then return nil, refusal("INVALID_REFRESH_TOKEN") end
  if token.rotated_at then return { revokes = true } end
  return { rotates = true }
end

return decider "user" { create = create, change = change, refresh = refresh }
