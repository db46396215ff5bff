-- Proves the tools that other specs stand on: the file's own database, requests without a socket, the frozen clock behind them, and events that are
-- handed on or named when they fail.
local db = require "shama.db"
local json = require "shama.json"
local test = require "shama.test"

describe("test.app", function()
  local app

  setup(function() app = test.app() end)
  after_each(function() test.freeze() end)

  local function add_event(subject, payload)
    test.sql("INSERT INTO sales.outbox (event_id, subject, aggregate, headers, payload) VALUES (gen_random_uuid(), $1, 'x', '{}', $2::bytea)",
      subject, payload)
  end

  it("has a database that no other file wrote to", function()
    assert.equal("0", test.sql("SELECT count(*) FROM crm.customers")[1].count)
    local name = test.sql("SELECT current_database() AS name")[1].name
    test.database()
    assert.equal(name, test.sql("SELECT current_database() AS name")[1].name)
    test.use("crm")
    assert.equal(name, db.one("SELECT current_database()::text AS name").name)
    assert.equal("crm_service_role", db.one("SELECT current_user::text AS name").name)
    assert.has_error(function() test.sql("SELECT nonsense") end)
    assert.same({ { a = "x" } }, test.sql("SELECT $1 AS a, $2::text AS b", "x", nil))
  end)

  it("answers like a server", function()
    local health = app:get("/health")
    assert.same({ 200, "ok", "nosniff" }, { health.status, health.json.status, health.headers["X-Content-Type-Options"] })
    assert.equal("", app:head("/health").body)
    app:get("/nowhere"):expect(404)
    assert.matches("POST", app:get("/api/v1/auth/login").headers.allow)
    app:post("/api/v1/customers", { as = "SALES", body = "{", headers = { ["Content-Type"] = "application/json" } }):expect(400)
    app:post("/api/v1/customers", { as = "SALES", body = "x", headers = { ["Content-Type"] = "text/plain" } }):expect(415)
    assert.equal("mine-1", app:get("/health", { headers = { ["X-Request-Id"] = "mine-1" } }).headers["x-request-id"])
    assert.equal(405, app:request("TRACE", "/health").status)
    assert.equal(400, app:get("/a b").status)
  end)

  it("has nobody, a role, a user, or a user in one role ask", function()
    local id = app:user("INVENTORY")
    app:get("/api/v1/auth/me"):expect(401)
    assert.same({ "INVENTORY" }, app:get("/api/v1/auth/me", { as = "INVENTORY" }):expect(200).roles)
    assert.equal(id, app:get("/api/v1/auth/me", { as = id }):expect(200).id)
    assert.equal(id, app:get("/api/v1/auth/me", { as = "INVENTORY", user_id = id }):expect(200).id)
    assert.equal(app:customer(), app:get("/api/v1/auth/me", { as = "CUSTOMER" }):expect(200).customer_id)
  end)

  it("says what is wrong with a request or an answer", function()
    assert.error_matches(function() app:get("/health", { asd = 1 }) end, "unknown option \"asd\"")
    assert.error_matches(function() app:get("/health", { as = "BAKER" }) end, "BAKER")
    assert.error_matches(function() app:get("/nowhere"):expect(200) end, "GET /nowhere: expected 200, got 404: .*NOT_FOUND")
    assert.error_matches(function() app:get("/nowhere"):expect(404, "GONE") end, "expected 404 GONE")
  end)

  it("stands still in rules when the clock does", function()
    test.freeze("2030-02-28T10:00:00Z")
    local made = app:post("/api/v1/customers", { as = "SALES", json = { kind = "PERSON", name = "Ana" } }):expect(201)
    assert.equal("2030-02-28T10:00:00", made.created_at:sub(1, 19))
    test.freeze()
    made = app:post("/api/v1/customers", { as = "SALES", json = { kind = "PERSON", name = "Ana" } }):expect(201)
    assert.not_equal("2030", made.created_at:sub(1, 4))
  end)

  it("delivers in order, once, and again when asked", function()
    app:deliver()
    local made = app:post("/api/v1/customers", { as = "SALES", json = { kind = "PERSON", name = "Ana" } }):expect(201)
    app:patch("/api/v1/customers/" .. made.id, { as = "SALES", json = { phone = json.null } }):expect(200)
    assert.same({ "customer.created", "customer.updated" }, app:deliver())
    assert.same({}, app:deliver())
    local all = app:deliver { again = true }
    assert.same({ "customer.created", "customer.updated" }, { all[#all - 1], all[#all] })
    assert.same({}, app:deliver())
  end)

  it("names an event that a subscriber cannot handle, and its subscriber", function()
    add_event("quotation.approved", "\\xff")
    assert.error_matches(function() app:deliver() end, "quotation%.approved failed in inventory%-quotation_approved: .*QuotationApproved")
    assert.same({}, app:deliver())
  end)
end)
