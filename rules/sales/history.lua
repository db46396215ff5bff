-- What every change leaves behind, in its transaction: an entry in the quotation's event_stream and a record of the decision.
--
-- A record is enough to decide again (sales.replay): the quotation as it was, the command, the facts and the policy values that were read.
local config = require "shama.config"
local db = require "shama.db"
local json = require "shama.json"
local refusal = require "shama.refusal"
local uuid = require "shama.uuid"
local policy = require "sales.policy"
local quotation = require "sales.quotation"
local store = require "sales.store"

local RULES = config.get("rules.version"):sub(1, 12) -- of the rules that this module is part of; enough to tell one from another

local history = {}

-- The entry, as the jsonb that is appended. `by`: a user's id, or nil for the system.
function history.entry(event, at, by) return db.json { { event = event, ts = at, by = by or "system", rules = RULES } } end

-- The policy, which becomes a table of the values that are read from it.
local WATCHED = { __index = function(read, name)
  local value = policy[name]
  read[name] = value
  return value
end }

local function watch() return setmetatable({}, WATCHED) end

local function line_totals(items)
  if not items then return json.array() end
  local totals = json.array(#items)
  for i, item in ipairs(items) do totals[i] = item.line_total end
  return totals
end

-- Asks the decider; raises what it refuses. Second comes what it went by, for record().
function history.decide(state, command, facts)
  local watched = watch()
  local decided = refusal.check(quotation.decide(state, command, facts, watched))
  return decided, { state = state, command = command, facts = facts, policy = watched, line_totals = line_totals(decided.items) }
end

local function prices_of(products)
  local prices = {}
  for id, product in pairs(products or {}) do prices[id] = product.price end
  return prices
end

-- Every 256th record takes up to 512 with it that are older than policy.decision_keep_days: forgetting keeps up with recording.
function history.is_sweep(id) return id:sub(-2) == "00" end
function history.forget(tx) tx:write(store.forget, policy.decision_keep_days) end

-- `facts`: today and the catalogue's prices stand apart, for people; the rest of what was known is under "known". It is written here and now:
-- before the caller applies what was decided.
function history.record(tx, id, command, at, by, facts, decided, known)
  local record_id = uuid.v7()
  tx:write(store.record, record_id, id, command, at, by, RULES, db.json {
    today = facts.today, prices = prices_of(facts.products), reason = facts.reason, known = json.at_most(known, policy.decision_bytes_max),
  }, db.json(decided.changes), db.json(decided.because))
  if history.is_sweep(record_id) then history.forget(tx) end
end

return history
