-- Proves that decision records end: what is older than policy.decision_keep_days goes, what is younger stays, and about one record in 256 sweeps.
-- How: two records of known age in a database of its own, and the sweep as an action would run it.
local test = require "shama.test"

describe("decision records", function()
  local db, history, policy

  setup(function()
    test.database()
    test.use("sales")
    db = require "shama.db"
    history = require "sales.history"
    policy = require "sales.policy"
  end)

  local function add(id, days)
    test.sql([[INSERT INTO sales.decisions (id, entity_id, command, at, rules_version, facts, result, policy)
      VALUES ($1::uuid, $1::uuid, 'create', now() - make_interval(days => $2::int), 'x', '{}', '{}', '{}')]], id, tostring(days))
  end

  it("end after the days that the policy says", function()
    local old, young = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    add(old, policy.decision_keep_days + 1)
    add(young, policy.decision_keep_days - 1)
    db.tx(function(tx) history.forget(tx) end)
    local left = db.query("SELECT id FROM sales.decisions WHERE id = ANY ($1::uuid[])", { old, young })
    assert.equal(1, #left)
    assert.equal(young, left[1].id)
  end)

  it("are swept by those whose id ends in 00", function()
    assert.is_true(history.is_sweep("0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f00"))
    assert.is_false(history.is_sweep("0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f10"))
  end)
end)
