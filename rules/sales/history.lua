-- What every change leaves behind, in its transaction: an entry in the quotation's event_stream and a record of the decision.
local config = require "shama.config"
local db = require "shama.db"
local uuid = require "shama.uuid"
local store = require "sales.store"

local RULES = config.get("rules.version"):sub(1, 12) -- of the rules that this module is part of; enough to tell one from another

local history = {}

-- The entry, as the jsonb that is appended. `by`: a user's id, or nil for the system.
function history.entry(event, at, by) return db.json { { event = event, ts = at, by = by or "system", rules = RULES } } end

-- `decided` is what the decider returned; its lines stand in the quotation itself.
function history.record(tx, id, command, at, by, facts, decided)
  tx:write(store.record, uuid.v7(), id, command, at, by, RULES, db.json(facts), db.json(decided.changes), db.json(decided.because))
end

return history
