---@meta shama.db
-- The service's own login to Postgres.

local db = {}

---A value of a statement: NULL, or what Postgres can take it as. A list becomes an SQL array.
---@alias shama.param string|number|boolean|shama.Decimal|shama.db.Json|shama.db.Bytes|shama.db.Columns|(string|number|shama.Decimal)[]|nil

---@class shama.db.Json
---@class shama.db.Bytes
---@class shama.db.Columns

---A row: its columns by name. A member that is set beside them shows in JSON, too.
---@class shama.Row
---@field [string] any

---Ends with its request. Goes to JSON without becoming Lua when nobody touches it.
---@class shama.Rows
---@field affected integer rows that the statement wrote
---@field [integer] shama.Row
---@operator len: integer
local Rows = {}

---`for i, row in rows:each() do`
---@return fun(): integer?, shama.Row?
function Rows:each() end

---Every row as a plain table of the named columns (all without names); NULL ones are absent.
---@param names? string[]
---@return table[]
function Rows:tables(names) end

---What the calls raise when the database says no. One whose constraint the manifest lists becomes its refusal.
---@class shama.db.Failure
---@field kind "unique"|"foreign_key"|"check"|"not_null"|"serialization"|"timeout"|"unavailable"|"maybe"|"limit"|"budget"|"other"
---@field sqlstate string?
---@field constraint string?
---@field message string

---@class shama.Tx
local Tx = {}

---@param sql string a constant of store.lua
---@param ... shama.param
---@return shama.Rows
function Tx:query(sql, ...) end

---The first row, or nil.
---@param sql string
---@param ... shama.param
---@return shama.Row?
function Tx:one(sql, ...) end

---Rows affected.
---@param sql string
---@param ... shama.param
---@return integer
function Tx:exec(sql, ...) end

---Several statements in one flight: tx:all({ sql, ... }, { sql, ... }), a row set each.
---@param ... table
---@return shama.Rows ...
function Tx:all(...) end

---Sent with the next flight; an error of it surfaces there, or at COMMIT.
---@param sql string
---@param ... shama.param
function Tx:write(sql, ...) end

---Writes an event into the outbox, in this transaction; the payload is checked against its .proto.
---@param subject string of the manifest's `publishes`
---@param aggregate_id string
---@param payload table
function Tx:emit(subject, aggregate_id, payload) end

---Keeps nothing; the function that db.tx() runs may return normally.
function Tx:rollback() end

---@param sql string a constant of store.lua
---@param ... shama.param
---@return shama.Rows
function db.query(sql, ...) end

---The first row, or nil.
---@param sql string
---@param ... shama.param
---@return shama.Row?
function db.one(sql, ...) end

---Rows affected.
---@param sql string
---@param ... shama.param
---@return integer
function db.exec(sql, ...) end

---Several statements in one flight, all or none: db.all({ sql, ... }, { sql, ... }), a row set each.
---@param ... table
---@return shama.Rows ...
function db.all(...) end

---COMMIT when `fn` returns, ROLLBACK when it raises. Returns what `fn` returns.
---@generic T
---@param fn fun(tx: shama.Tx): T
---@param options? { isolation?: "read committed"|"repeatable read"|"serializable" }
---@return T
function db.tx(fn, options) end

---A parameter for a json or jsonb column.
---@param value any
---@return shama.db.Json
function db.json(value) end

---A parameter for a bytea column.
---@param value string
---@return shama.db.Bytes
function db.bytes(value) end

---As many parameters as there are names: each the array of that member of the tables in the list, NULL where it is nil.
---For INSERT ... SELECT ... FROM unnest($1, $2, ...).
---@param list table[]
---@param names string[]
---@return shama.db.Columns
function db.columns(list, names) end

return db
