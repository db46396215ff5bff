-- Events in a transaction with their inbox rows: each is applied once, whatever is delivered again. The host calls deliver() and bury().
--
-- Nearly every event comes once. So the inbox rows are written unseen: they travel with the handler's first reads, or with its writes and COMMIT, and
-- save a round trip. A row that is there already fails the transaction, which keeps nothing; then it runs again, the careful way: it asks which
-- events are new, and only those reach the handler.
local db = require "shama.db"

local TRIES = 3            -- of a transaction that lost against another one (serialization, deadlock)
local ERROR_MAX = 500      -- bytes of the error that a dead letter carries
local HEADER_NAMES = {     -- what a dead letter keeps of the original
  "Shama-Type", "Shama-Source", "Shama-Correlation-Id", "Shama-Time", "traceparent",
}

local statements = {}      -- by service: the text of a statement is constant, so that it is prepared once

local function statements_of(service)
  local found = statements[service]
  if not found then
    local insert = "INSERT INTO " .. service .. ".inbox (consumer, event_id, processed_at) SELECT $1, event_id, now()"
      .. " FROM unnest($2::uuid[]) AS event_id"
    found = {
      mark = insert,
      mark_fresh = insert .. " ON CONFLICT DO NOTHING RETURNING event_id",
      bury = "INSERT INTO " .. service .. ".outbox (event_id, subject, aggregate, headers, payload)"
        .. " VALUES (gen_random_uuid(), $1, $2, $3, $4)",
    }
    statements[service] = found
  end
  return found
end

-- In the order of their ids, so that two processes which mark the same events wait for each other and never in a circle.
local function sorted_ids(events)
  local ids = {}
  for i = 1, #events do ids[i] = events[i].id end
  if ids[2] then table.sort(ids) end
  return ids
end

-- Marks the events and returns those that were not marked before, in their order.
local function take_fresh(tx, options, events)
  local rows = tx:query(statements_of(options.service).mark_fresh, options.consumer, sorted_ids(events))
  if #rows == #events then return events end
  local marked, fresh = {}, {}
  for i = 1, #rows do marked[rows[i].event_id] = true end
  for i = 1, #events do
    local event = events[i]
    if marked[event.id] then
      fresh[#fresh + 1] = event
      marked[event.id] = nil -- the same event twice in one batch counts once
    end
  end
  return fresh
end

local function handle(tx, options, handler, events)
  for i = 1, #events do
    local problem = rawget(events[i], "undecodable")
    if problem then error(problem, 0) end
  end
  if options.batch then
    handler(tx, events)
  else
    for i = 1, #events do handler(tx, events[i]) end
  end
end

-- What was raised, as a kind for the host and a sentence for people.
local function explain(problem)
  if type(problem) ~= "table" then return "failed", tostring(problem) end
  local kind = problem.kind
  local waited = kind == "timeout" and (problem.sqlstate == nil or problem.sqlstate == "")
  if kind == "unavailable" or kind == "maybe" or waited then return "unavailable", tostring(problem.message or kind) end
  return (kind == "serialization" or kind == "budget") and kind or "failed", tostring(problem.message or problem.code or problem)
end

local function in_transaction(work)
  local kind, text
  for _ = 1, TRIES do
    local ok, problem = pcall(db.tx, work)
    if ok then return true end
    kind, text = explain(problem)
    if kind ~= "serialization" then break end
  end
  return false, kind, text
end

local M = {}

-- The careful way. When no event was known, that was not why the transaction failed, and it would fail again: returns false, and the reason given.
local function deliver_fresh(options, handler, events, kind, text)
  local is_other_reason
  local ok, new_kind, new_text = in_transaction(function(tx)
    local fresh = take_fresh(tx, options, events)
    is_other_reason = kind and #fresh == #events
    if is_other_reason then
      tx:rollback()
    elseif fresh[1] then
      handle(tx, options, handler, fresh)
    end
  end)
  if ok and is_other_reason then return false, kind, text end
  return ok, new_kind, new_text
end

-- options: { service, consumer, subject, batch }. Returns true, or false, kind ("unavailable", "serialization", "budget", "failed"), text.
function M.deliver(options, handler, events)
  if events[1].deliveries > 1 then return deliver_fresh(options, handler, events) end -- it may well be known
  local ok, kind, text = in_transaction(function(tx)
    tx:write(statements_of(options.service).mark, options.consumer, sorted_ids(events))
    handle(tx, options, handler, events)
  end)
  if ok or kind ~= "failed" then return ok, kind, text end
  return deliver_fresh(options, handler, events, kind, text)
end

-- Writes the event as a dead letter, once, together with its inbox mark.
function M.bury(options, event, problem)
  return in_transaction(function(tx)
    if #take_fresh(tx, options, { event }) == 0 then return end
    local headers = {}
    for _, name in ipairs(HEADER_NAMES) do headers[name] = event.headers[name] end
    headers["Shama-Failed-Id"] = event.id
    headers["Shama-Consumer"] = options.consumer
    headers["Shama-Deliveries"] = tostring(event.deliveries)
    headers["Shama-Error"] = problem:sub(1, ERROR_MAX):gsub("%c", " ")
    tx:write(statements_of(options.service).bury, event.subject .. ".failed", event.id, db.json(headers), db.bytes(event.raw))
  end)
end

return M
