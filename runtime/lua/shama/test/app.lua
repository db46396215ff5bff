-- The application without a socket, for specs: requests through the edge as anybody, and events from the outboxes to their subscribers.
local _, host = ...
if not host then error("shama.test.app is there for specs only", 0) end
local json = require "shama.json"
local jwt = require "shama.jwt"
local uuid = require "shama.uuid"

local BATCH = 64      -- events of one transaction, as a consumer takes them
local ROUNDS_MAX = 50 -- of events that cause events
local TOKEN_S = 3600

local OPTIONS = { as = true, user_id = true, token = true, json = true, body = true, query = true, headers = true, language = true }

-- Who `as` names. They are made in the database when first asked for; they cannot log in.
local CUSTOMER_ID = "c0000000-0000-4000-8000-00000000000c"
local DEMO = {
  ADMIN = { id = "a0000000-0000-4000-8000-00000000000a", name = "Ada Admin" },
  SALES = { id = "a0000000-0000-4000-8000-00000000000b", name = "Samuel Ventas" },
  INVENTORY = { id = "a0000000-0000-4000-8000-00000000000c", name = "Inés Almacén" },
  CUSTOMER = { id = "a0000000-0000-4000-8000-00000000000d", name = "María Cliente", customer_id = CUSTOMER_ID },
}
local made = {} -- in the database of this spec file

local INSERT_CUSTOMER = "INSERT INTO crm.customers (id, kind, name, email, status) VALUES ($1, 'PERSON', $2, $3, 'LEAD') ON CONFLICT DO NOTHING"
local INSERT_USER = [[INSERT INTO identity.users (id, email, password_hash, full_name, roles, customer_id)
VALUES ($1, $2, '!', $3, ARRAY[$4], $5) ON CONFLICT DO NOTHING]]
local USER = "SELECT full_name, array_to_string(roles, ' ') AS roles, customer_id FROM identity.users WHERE id = $1"
local COLUMNS = "event_id, subject, headers::text AS headers, encode(payload, 'hex') AS payload"

local M = {}
local App = {}
App.__index = App

local function check(ok, problem)
  if not ok then error(problem, 3) end
end

function M.database() check(host.database()) end

M.sql = host.sql

-- The spec file ended. Called by shama.test.run.
function M.leave()
  made = {}
  local ok, problem = host.leave()
  if ok == false then error(problem, 0) end
end

function M.open()
  check(host.database())
  host.open()
  return setmetatable({}, App)
end

-- Who asks ---------------------------------------------------------------------------------------------------------------------

-- The id of the demo user with this role.
function App:user(role) -- luacheck: ignore self
  local demo = DEMO[role] or error("there is no role \"" .. tostring(role) .. "\"", 2)
  if not made[role] then
    local email = role:lower() .. "@spec.example"
    if demo.customer_id then host.sql(INSERT_CUSTOMER, demo.customer_id, demo.name, email) end
    host.sql(INSERT_USER, demo.id, email, demo.name, role, demo.customer_id)
    made[role] = true
  end
  return demo.id
end

-- The id of the crm customer that the demo user CUSTOMER is.
function App:customer()
  self:user("CUSTOMER")
  return CUSTOMER_ID
end

local function claims_of(id)
  local row = host.sql(USER, id)[1] or error("there is no user " .. id, 4)
  local roles = {}
  for role in row.roles:gmatch("%S+") do roles[#roles + 1] = role end
  return { sub = id, name = row.full_name, roles = roles, customer_id = row.customer_id }
end

-- A bearer token: of a role's demo user, of a user by id, or of a user by id with one role named.
local function token_for(app, as, user_id)
  local claims
  if user_id and as then claims = { sub = user_id, name = "", roles = { as } }
  elseif user_id or not DEMO[as] then claims = claims_of(user_id or as)
  else claims = { sub = app:user(as), name = DEMO[as].name, roles = { as }, customer_id = DEMO[as].customer_id } end
  return jwt.sign(claims, TOKEN_S)
end

-- Requests ---------------------------------------------------------------------------------------------------------------------

local function escape(value)
  return (tostring(value):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function with_query(path, query)
  local parts = {}
  for name, value in pairs(query or {}) do parts[#parts + 1] = escape(name) .. "=" .. escape(value) end
  if #parts == 0 then return path end
  table.sort(parts)
  return path .. (path:find("?", 1, true) and "&" or "?") .. table.concat(parts, "&")
end

-- The bytes a client would send.
local function write_request(app, method, path, options)
  local headers, body = { Host = "localhost" }, options.body
  if options.json ~= nil then
    body = json.encode(options.json)
    headers["Content-Type"] = "application/json"
  end
  if options.as or options.user_id then headers.Authorization = "Bearer " .. token_for(app, options.as, options.user_id) end
  if options.token then headers.Authorization = "Bearer " .. options.token end
  headers["Accept-Language"] = options.language
  if body then headers["Content-Length"] = #body end
  for name, value in pairs(options.headers or {}) do headers[name] = value end
  local lines = {}
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  table.sort(lines)
  return method .. " " .. with_query(path, options.query) .. " HTTP/1.1\r\n" .. table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local any_case = { __index = function(headers, name) return rawget(headers, type(name) == "string" and name:lower() or name) end }

local Answer = {}
Answer.__index = Answer

-- Raises unless the status (and a problem's code) is this one, with what came instead; returns the decoded body.
function Answer:expect(status, code)
  if self.status ~= status or (code and (type(self.json) ~= "table" or self.json.code ~= code)) then
    error(("%s: expected %d%s, got %d: %s"):format(self.asked, status, code and " " .. code or "", self.status, self.body:sub(1, 2000)), 2)
  end
  return self.json
end

local function read_answer(asked, status, fields, body)
  local headers = setmetatable({}, any_case)
  for i = 1, #fields, 2 do headers[fields[i]:lower()] = fields[i + 1] end
  local answer = { asked = asked, status = status, headers = headers, body = body }
  if body ~= "" and (headers["content-type"] or ""):find("json", 1, true) then answer.json = assert(json.decode(body)) end
  return setmetatable(answer, Answer)
end

-- options: as (a role, or a user's id), user_id, token, json or body, query, headers, language; without as, user_id and token nobody asks.
-- Returns { status, headers (in any case), body, json }.
function App:request(method, path, options)
  options = options or {}
  for name in pairs(options) do
    if not OPTIONS[name] then error("unknown option \"" .. tostring(name) .. "\" of a request", 2) end
  end
  return read_answer(method .. " " .. path, host.request(write_request(self, method, path, options)))
end

for name, method in pairs { get = "GET", head = "HEAD", post = "POST", put = "PUT", patch = "PATCH", delete = "DELETE", options = "OPTIONS" } do
  App[name] = function(self, path, options) return self:request(method, path, options) end
end

-- All routes of all services: { service, method, path, public }.
function App:routes() return host.routes() end -- luacheck: ignore self

-- Events -----------------------------------------------------------------------------------------------------------------------

local function from_hex(text)
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- The rows as messages, in the order in which they were written; of services one after the other.
local function take(services, again)
  local events = {}
  for _, schema in ipairs(services) do
    local rows = host.sql("WITH taken AS (UPDATE " .. schema .. ".outbox SET published_at = now()" .. (again and "" or " WHERE published_at IS NULL")
      .. " RETURNING id, " .. COLUMNS .. ") SELECT * FROM taken ORDER BY id")
    for _, row in ipairs(rows) do
      local headers = assert(json.decode(row.headers))
      headers["Nats-Msg-Id"] = row.event_id
      events[#events + 1] = { subject = row.subject, headers = headers, payload = from_hex(row.payload) }
    end
  end
  return events
end

local function hand_over(subscription, batch, problems)
  local ok, problem = host.deliver(subscription.service, subscription.durable, batch)
  if ok then return end
  if #batch == 1 then
    problems[#problems + 1] = ("%s failed in %s: %s"):format(batch[1].subject, subscription.durable, problem)
    return
  end
  for _, event in ipairs(batch) do hand_over(subscription, { event }, problems) end -- each alone, as a consumer tries
end

local function deliver_to(subscription, events, problems)
  local batch = {}
  for _, event in ipairs(events) do
    if event.subject == subscription.subject then
      batch[#batch + 1] = event
      if #batch == BATCH then
        hand_over(subscription, batch, problems)
        batch = {}
      end
    end
  end
  if batch[1] then hand_over(subscription, batch, problems) end
end

-- What was written to the outboxes goes to its subscribers, and what they write then, until nothing is left. Returns the subjects in order.
-- A handler that fails is an error here, once all others have run. options: again = true (also what was delivered before), new_ids = true
-- (under other event ids: as if it had been published a second time).
function App:deliver(options) -- luacheck: ignore self
  local again, new_ids = options and options.again, options and options.new_ids
  local subscriptions, services = host.subscriptions()
  local subjects, problems = {}, {}
  for _ = 1, ROUNDS_MAX do
    local events = take(services, again)
    if #events == 0 then
      if problems[1] then error(table.concat(problems, "\n"), 2) end
      return subjects
    end
    for _, event in ipairs(events) do
      subjects[#subjects + 1] = event.subject
      if again and new_ids then event.headers["Nats-Msg-Id"] = uuid.v7() end
    end
    for _, subscription in ipairs(subscriptions) do deliver_to(subscription, events, problems) end
    again = false
  end
  error("events cause events without end: " .. table.concat(subjects, ", ", #subjects - 10), 2)
end

return M
