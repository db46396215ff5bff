-- Statements and transactions for rules, see docs/reference/lua-api.md. The C part answers nil and an error table; here it is raised.
local _, raw = ...

local db, methods = {}, {}
local query, one, all, begin = raw.query, raw.one, raw.all, raw.begin
local tx_query, tx_one, tx_all, tx_write = raw.tx_query, raw.tx_one, raw.tx_all, raw.tx_write
local tx_commit, tx_rollback, tx_is_open = raw.tx_commit, raw.tx_rollback, raw.tx_is_open

-- An error's text is what a log shows; its fields are what the host and rules look at.
local Failure = { __metatable = false } -- shared by all of them: nobody may reach it
function Failure.__tostring(self) return "database: " .. self.message end

local function raise(failure) error(setmetatable(failure, Failure), 0) end

-- A nil with an error table behind it is a failure; a lone nil is a row that does not exist.
local function checked(...)
  local first, failure = ...
  if first == nil and failure ~= nil then raise(failure) end
  return ...
end

function db.query(...) return checked(query(...)) end
function db.all(...) return checked(all(...)) end
function db.exec(...) return checked(query(...)).affected end
function db.one(...)
  local row, failure = one(...)
  if failure then raise(failure) end
  return row
end

function methods.query(tx, ...) return checked(tx_query(tx, ...)) end
function methods.all(tx, ...) return checked(tx_all(tx, ...)) end
function methods.exec(tx, ...) return checked(tx_query(tx, ...)).affected end
function methods.one(tx, ...)
  local row, failure = tx_one(tx, ...)
  if failure then raise(failure) end
  return row
end
methods.write, methods.emit = tx_write, raw.tx_emit

-- Ends the transaction without keeping anything; the function that db.tx() runs may return normally afterwards.
function methods.rollback(tx) tx_rollback(tx) end
raw.methods(methods)

local function finish(tx, ok, ...)
  if not ok then
    tx_rollback(tx)
    error((...), 0)
  end
  if tx_is_open(tx) then
    local done, failure = tx_commit(tx)
    if not done then
      tx_rollback(tx)
      raise(failure)
    end
  end
  return ...
end

-- Runs fn(tx) in a transaction: COMMIT when it returns, ROLLBACK when it raises. options: { isolation = "serializable" }
function db.tx(fn, options)
  local tx = begin(options and options.isolation or nil)
  return finish(tx, pcall(fn, tx))
end

local JSON, BYTES, COLUMNS = raw.marks() -- metatables: the C part knows by them what a table is meant as

-- A parameter for a json or jsonb column, and one for a bytea column.
function db.json(value) return setmetatable({ value }, JSON) end
function db.bytes(value) return setmetatable({ value }, BYTES) end
-- As many parameters as there are names: each the array of that member of the tables in the list. For INSERT ... SELECT FROM unnest($1, $2, ...).
function db.columns(list, names) return setmetatable({ list, names }, COLUMNS) end

return db
