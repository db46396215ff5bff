---@meta shama.test
-- For specs only: `shama test`. See docs/reference/specs.md.

---@class shama.test.Answer
---@field status integer
---@field headers table<string, string>
---@field body string
---@field json any? the decoded body
local Answer = {}

---Raises unless the status (and a problem's code) is this one; returns the decoded body.
---@param status integer
---@param code? string
---@return any
function Answer:expect(status, code) end

---@class shama.test.Options
---@field as? string a role, or a user's id
---@field user_id? string
---@field token? string
---@field json? any
---@field body? string
---@field query? table<string, any>
---@field headers? table<string, string>
---@field language? "es"|"en"

---@class shama.test.App
local App = {}

---@param method string
---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:request(method, path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:get(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:head(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:post(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:put(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:patch(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:delete(path, options) end

---@param path string
---@param options? shama.test.Options
---@return shama.test.Answer
function App:options(path, options) end

---All routes of all services.
---@return { service: string, method: string, path: string, public: boolean }[]
function App:routes() end

---What was written to the outboxes goes to its subscribers, until nothing is left.
---@param options? { again?: boolean, new_ids?: boolean }
---@return string[] subjects in order
function App:deliver(options) end

local test = {}

---From here on shama.db logs in as this service.
---@param service string
function test.use(service) end

---From here on the spec file has a database of its own, migrated and empty, until its end. Raises in a gate spec, as `use` and `app` do.
function test.database() end

---A statement there, as the owner of all tables; rows with every value as text.
---@param sql string
---@param ... any
---@return table[]
function test.sql(sql, ...) end

---All services behind their edge, on that database, without a socket.
---@return shama.test.App
function test.app() end

---shama.clock stands still; without a time it runs again.
---@param time? string RFC 3339
function test.freeze(time) end

---@param ms number
function test.sleep(ms) end

---A deep copy without frozen tables.
---@param value any
---@return any
function test.plain(value) end

return test
