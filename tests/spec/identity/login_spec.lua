-- Proves who gets in and who is out: a login needs the right password of a user who is not disabled; a refresh token is good once, and one that comes
-- twice ends its whole family; disabling, another password and other roles hold at once, for tokens that are still valid too.
local test = require "shama.test"

local PASSWORD = "correcto-caballo-grapa"

describe("logging in", function()
  local app
  local count = 0

  local function user(more)
    count = count + 1
    local new = { email = "user" .. count .. "@spec.example", password = PASSWORD, full_name = "Ana Núñez", roles = { "SALES" } }
    for name, value in pairs(more or {}) do new[name] = value end
    return app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(201)
  end

  local function login(email, password)
    return app:post("/api/v1/auth/login", { json = { email = email, password = password or PASSWORD } })
  end
  local function refresh(token) return app:post("/api/v1/auth/refresh", { json = { refresh_token = token } }) end
  local function me(token) return app:get("/api/v1/auth/me", { token = token }) end
  local function change(who, changes)
    return app:patch("/api/v1/users/" .. who.id, { as = "ADMIN", json = changes })
  end

  setup(function() app = test.app() end)

  it("gives tokens that tell who one is", function()
    local ana = user()
    local tokens = login("  " .. ana.email:upper() .. " "):expect(200)
    assert.equal("Bearer", tokens.token_type)
    assert.is_true(tokens.expires_in > 0)
    local is = me(tokens.access_token):expect(200)
    assert.equal(ana.id, is.id)
    assert.is_nil(is.password_hash)
    app:get("/api/v1/quotations", { token = tokens.access_token }):expect(200)
    app:get("/api/v1/users", { token = tokens.access_token }):expect(403)
  end)

  it("tells a wrong password and an unknown address in the same words", function()
    local ana = user()
    local wrong, unknown = login(ana.email, "incorrecto-caballo"):expect(401, "INVALID_CREDENTIALS"), login("nobody@spec.example"):expect(401)
    wrong.request_id, unknown.request_id = nil, nil
    assert.same(wrong, unknown)
    login(ana.email, ""):expect(400)
  end)

  it("stores no password and no refresh token", function()
    local ana = user()
    local tokens = login(ana.email):expect(200)
    local row = test.sql("SELECT password_hash FROM identity.users WHERE id = $1", ana.id)[1]
    assert.matches("^%$argon2id%$", row.password_hash)
    assert.equal("0", test.sql("SELECT count(*) FROM identity.refresh_tokens WHERE token_hash = $1", tokens.refresh_token)[1].count)
    assert.equal("1", test.sql("SELECT count(*) FROM identity.refresh_tokens WHERE user_id = $1", ana.id)[1].count)
  end)

  it("goes on with a refresh token, once", function()
    local first = login(user().email):expect(200)
    local second = refresh(first.refresh_token):expect(200)
    assert.not_equal(first.refresh_token, second.refresh_token)
    me(second.access_token):expect(200)
    refresh(second.refresh_token):expect(200)
    refresh("nonsense"):expect(401, "INVALID_REFRESH_TOKEN")
  end)

  it("ends the whole family when a token comes twice, and no other family", function()
    local ana = user()
    local other = login(ana.email):expect(200)
    local first = login(ana.email):expect(200)
    local second = refresh(first.refresh_token):expect(200)
    refresh(first.refresh_token):expect(401, "INVALID_REFRESH_TOKEN") -- whoever has it, it was copied
    refresh(second.refresh_token):expect(401, "INVALID_REFRESH_TOKEN")
    refresh(other.refresh_token):expect(200)
  end)

  it("ends with a logout: of one session, or of all", function()
    local ana = user()
    local one, two, three = login(ana.email):expect(200), login(ana.email):expect(200), login(ana.email):expect(200)
    app:post("/api/v1/auth/logout", { token = one.access_token, json = { refresh_token = one.refresh_token } }):expect(204)
    refresh(one.refresh_token):expect(401)
    two = refresh(two.refresh_token):expect(200)
    app:post("/api/v1/auth/logout", { token = one.access_token }):expect(204)
    refresh(two.refresh_token):expect(401)
    refresh(three.refresh_token):expect(401)
  end)

  it("is over for a disabled user, whatever tokens it holds", function()
    local ana = user()
    local tokens = login(ana.email):expect(200)
    change(ana, { disabled = true }):expect(200)
    me(tokens.access_token):expect(401, "USER_UNKNOWN_OR_DISABLED")
    refresh(tokens.refresh_token):expect(401, "INVALID_REFRESH_TOKEN")
    login(ana.email):expect(401, "INVALID_CREDENTIALS")
    change(ana, { disabled = false }):expect(200)
    refresh(tokens.refresh_token):expect(401) -- it was revoked
    login(ana.email):expect(200)
  end)

  it("is over everywhere with another password", function()
    local ana = user()
    local tokens = login(ana.email):expect(200)
    change(ana, { password = "otra-contraseña-larga" }):expect(200)
    refresh(tokens.refresh_token):expect(401)
    login(ana.email):expect(401)
    login(ana.email, "otra-contraseña-larga"):expect(200)
  end)

  it("follows the roles at once", function()
    local ana = user { roles = { "SALES", "ADMIN" } }
    local tokens = login(ana.email):expect(200)
    app:get("/api/v1/users", { token = tokens.access_token }):expect(200)
    change(ana, { roles = { "SALES" } }):expect(200)
    app:get("/api/v1/users", { token = tokens.access_token }):expect(403)
    change(ana, { roles = { "INVENTORY" } }):expect(200)
    app:get("/api/v1/quotations", { token = tokens.access_token }):expect(403) -- a role that is not in the token is none
    app:get("/api/v1/auth/me", { token = tokens.access_token }):expect(200)
  end)

  it("needs a customer for a CUSTOMER, an address for one user, and an ADMIN who stays", function()
    local new = { email = "c@spec.example", password = PASSWORD, full_name = "C", roles = { "CUSTOMER" } }
    app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(422, "CUSTOMER_ID_NEEDED")
    new.customer_id = app:user("ADMIN")
    app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(422, "UNKNOWN_CUSTOMER")
    new.customer_id = app:customer()
    app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(201)
    app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(409, "DUPLICATE_EMAIL")
    change({ id = app:user("ADMIN") }, { disabled = true }):expect(409, "CANNOT_LOCK_SELF_OUT")
    new.email, new.password = "d@spec.example", "corta"
    app:post("/api/v1/users", { as = "ADMIN", json = new }):expect(400)
  end)
end)
