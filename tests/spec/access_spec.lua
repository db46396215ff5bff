-- Proves who may call what: every route by every role, and by nobody, against the table of the API contract written out by hand.
--
-- A role that may gets anything but 401 and 403 (the objects asked for do not exist, the bodies are empty); one that may not gets 403; without a
-- token everything but what is public is 401. A route that is missing here, or here and nowhere else, fails too.
local test = require "shama.test"

local LETTERS = { A = "ADMIN", S = "SALES", I = "INVENTORY", C = "CUSTOMER" }
local NOBODY = "0192f0c1-2345-7abc-8def-0123456789ab"

local EXPECTED = {
  ["POST /auth/login"] = "public",
  ["POST /auth/refresh"] = "public",
  ["POST /auth/logout"] = "ASIC",
  ["GET /auth/me"] = "ASIC",
  ["GET /users"] = "A",
  ["POST /users"] = "A",
  ["GET /users/:id"] = "A",
  ["PATCH /users/:id"] = "A",

  ["GET /products"] = "ASIC",
  ["POST /products"] = "AI",
  ["GET /products/:id"] = "ASIC",
  ["PATCH /products/:id"] = "AI",
  ["DELETE /products/:id"] = "AI",
  ["POST /products/:id/price"] = "A",
  ["GET /products/:id/price-history"] = "ASI",
  ["GET /products/:id/stock-movements"] = "ASI",
  ["POST /products/:id/stock-movements"] = "AI",

  ["GET /customers"] = "ASC",
  ["POST /customers"] = "AS",
  ["GET /customers/:id"] = "ASC",
  ["PATCH /customers/:id"] = "AS",
  ["POST /customers/:id/activate"] = "AS",
  ["POST /customers/:id/deactivate"] = "AS",
  ["GET /customers/:id/contacts"] = "ASC",
  ["POST /customers/:id/contacts"] = "AS",
  ["GET /customers/:id/interactions"] = "ASC",
  ["POST /customers/:id/interactions"] = "AS",

  ["GET /quotations"] = "ASC",
  ["POST /quotations"] = "ASC",
  ["GET /quotations/:id"] = "ASC",
  ["PATCH /quotations/:id"] = "ASC",
  ["DELETE /quotations/:id"] = "ASC",
  ["PUT /quotations/:id/items"] = "ASC",
  ["POST /quotations/:id/items"] = "ASC",
  ["PATCH /quotations/:id/items/:item_id"] = "ASC",
  ["DELETE /quotations/:id/items/:item_id"] = "ASC",
  ["POST /quotations/:id/submit"] = "ASC",
  ["POST /quotations/:id/approve"] = "AS",
  ["POST /quotations/:id/return"] = "AS",
  ["POST /quotations/:id/cancel"] = "ASC",
  ["POST /quotations/:id/authorize"] = "A",
  ["POST /quotations/:id/clone"] = "ASC",
  ["GET /quotations/:id/events"] = "ASC",
  ["GET /quotations/:id/why"] = "AS",
  ["GET /quotations/:id/pdf"] = "ASC",

  ["GET /admin/rules"] = "A", -- the edge's own
}

describe("access", function()
  local app

  setup(function() app = test.app() end)

  local function ask(route, as)
    local method, path = route:match("^(%S+) (%S+)$")
    local options = { as = as }
    if method == "POST" or method == "PUT" or method == "PATCH" then options.json = {} end
    return app:request(method, "/api/v1" .. path:gsub(":[%w_]+", NOBODY), options)
  end

  it("is decided for every route there is, and for no other", function()
    local missing, seen = {}, { ["GET /admin/rules"] = true }
    for _, route in ipairs(app:routes()) do
      local name = route.method .. " " .. route.path:gsub("^/api/v1", "")
      seen[name] = true
      if not EXPECTED[name] then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
    for name in pairs(EXPECTED) do assert.is_true(seen[name] or false, name .. " does not exist") end
  end)

  for route, who in pairs(EXPECTED) do
    it(route, function()
      local anonymous = ask(route, nil)
      if who == "public" then
        assert.not_equal("TOKEN_MISSING", anonymous.json and anonymous.json.code)
        assert.not_equal(403, anonymous.status)
        return
      end
      anonymous:expect(401, "TOKEN_MISSING")
      for letter, role in pairs(LETTERS) do
        local answer = ask(route, role)
        if who:find(letter, 1, true) then
          assert.is_false(answer.status == 403 or answer.status == 401, role .. " is refused: " .. answer.body)
          assert.is_true(answer.status < 500, answer.body)
        else
          answer:expect(403, "FORBIDDEN")
        end
      end
    end)
  end

  it("needs the role in the token and in the database", function()
    app:get("/api/v1/users", { as = "ADMIN", user_id = app:user("SALES") }):expect(403, "FORBIDDEN")
    app:get("/api/v1/users", { as = "SALES", user_id = app:user("ADMIN") }):expect(403, "FORBIDDEN")
    app:get("/api/v1/users", { user_id = app:user("ADMIN") }):expect(200)
  end)

  it("is for users that exist, with a token that verifies", function()
    app:get("/api/v1/products", { as = "ADMIN", user_id = NOBODY }):expect(401, "USER_UNKNOWN_OR_DISABLED")
    app:get("/api/v1/products", { token = "x.y.z" }):expect(401, "TOKEN_INVALID")
    app:get("/api/v1/products", { headers = { Authorization = "Basic eDp5" } }):expect(401, "TOKEN_INVALID")
  end)

  it("leaves the price to the ADMIN", function()
    local new = { sku = "P-1", name = "Taladro", unit = "pieza", price = "10.00" }
    local product = app:post("/api/v1/products", { as = "INVENTORY", json = new }):expect(201)
    local path = "/api/v1/products/" .. product.id
    app:patch(path, { as = "INVENTORY", json = { price = "11.00" } }):expect(403, "PRICE_NEEDS_ADMIN")
    app:patch(path, { as = "INVENTORY", json = { name = "Taladro 2" } }):expect(200)
    app:patch(path, { as = "ADMIN", json = { price = "11.00" } }):expect(200)
  end)
end)
