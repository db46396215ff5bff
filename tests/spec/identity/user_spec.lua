-- gate
-- Users and refresh tokens: who may be what, and that a token is good once.
local user = require "identity.user"

local function refused(code, result, refusal)
  assert.is_nil(result)
  assert.equal(code, refusal.code)
end

describe("a user", function()
  it("of role CUSTOMER belongs to a customer, and no other does", function()
    local function create(new) return user.decide(nil, { name = "create", user = new }) end
    assert(create { roles = { "CUSTOMER" }, customer_id = "c" })
    assert(create { roles = { "SALES" } })
    refused("CUSTOMER_ID_NEEDED", create { roles = { "CUSTOMER" } })
    refused("CUSTOMER_ID_UNFIT", create { roles = { "SALES" }, customer_id = "c" })
  end)

  local admin = { id = "u1", roles = { "ADMIN" }, disabled = false }
  local function change(changes, by, more)
    local command = { name = "change", changes = changes, by = by }
    for name, value in pairs(more or {}) do command[name] = value end
    return user.decide(admin, command)
  end

  it("cannot lock itself out", function()
    refused("CANNOT_LOCK_SELF_OUT", change({ disabled = true }, "u1"))
    refused("CANNOT_LOCK_SELF_OUT", change({ roles = { "SALES" } }, "u1"))
    assert(change({ full_name = "Ada" }, "u1"))
    assert(change({ disabled = true }, "u2"))
  end)

  it("loses its sessions when it is disabled or its password changes", function()
    assert.is_true(change({ disabled = true }, "u2").ends_sessions)
    assert.is_true(change({ password_hash = "h" }, "u2").ends_sessions)
    assert.is_false(change({ full_name = "Ada" }, "u2").ends_sessions)
  end)

  it("keeps customer and role together in a change", function()
    local buyer = { id = "u3", roles = { "CUSTOMER" }, customer_id = "c" }
    refused("CUSTOMER_ID_NEEDED", user.decide(buyer, { name = "change", changes = {}, removes_customer = true, by = "u1" }))
    assert(user.decide(buyer, { name = "change", changes = { roles = { "SALES" } }, removes_customer = true, by = "u1" }))
  end)
end)

describe("a refresh token", function()
  local function refresh(token) return user.decide(token, { name = "refresh" }) end

  it("rotates once", function() assert.is_true(refresh({ is_expired = false, disabled = false }).rotates) end)

  it("ends its family when it comes again", function() assert.is_true(refresh({ rotated_at = "t", is_expired = false,
    disabled = false }).revokes) end)

  it("is refused when unknown, expired, revoked, or of a disabled user", function()
    refused("INVALID_REFRESH_TOKEN", refresh(nil))
    for _, name in ipairs { "revoked_at", "is_expired", "disabled" } do refused("INVALID_REFRESH_TOKEN", refresh({ [name] = true })) end
  end)
end)
