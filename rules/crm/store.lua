-- All SQL of crm.
local store = {}

local COLUMNS = "id, kind, name, tax_id, email, phone, address, status, owner_id, created_at, updated_at, version"

-- $1 pattern, $2 status, $3 owner, $4 one customer only (a CUSTOMER's own), $5 and $6 cursor, $7 limit
store.list = "SELECT " .. COLUMNS .. [[ FROM crm.customers
WHERE ($1::text IS NULL OR search LIKE $1::text) AND ($2::text IS NULL OR status = $2::text) AND ($3::uuid IS NULL OR owner_id = $3::uuid)
  AND ($4::uuid IS NULL OR id = $4::uuid)
  AND ($5::timestamptz IS NULL OR (created_at, id) < ($5::timestamptz, $6::uuid))
ORDER BY created_at DESC, id DESC LIMIT $7]]
store.get = "SELECT " .. COLUMNS .. " FROM crm.customers WHERE id = $1"
store.lock = "SELECT " .. COLUMNS .. " FROM crm.customers WHERE id = $1 FOR NO KEY UPDATE"
store.insert = [[INSERT INTO crm.customers (id, kind, name, tax_id, email, phone, address, status, owner_id, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)]]
store.update = [[UPDATE crm.customers SET kind = $3, name = $4, tax_id = $5, email = $6, phone = $7, address = $8, owner_id = $9, status = $10,
  updated_at = $11, version = $2 WHERE id = $1]]
-- Likely the same: $1 tax id, $2 e-mail, $3 name
store.duplicates = [[SELECT id, name, status,
  CASE WHEN tax_id = $1::text THEN 'tax_id' WHEN lower(email) = lower($2::text) THEN 'email' ELSE 'name' END AS matched
FROM crm.customers
WHERE tax_id = $1::text OR lower(email) = lower($2::text) OR platform.fold(name) = platform.fold($3::text) ORDER BY created_at LIMIT 10]]

store.contacts = "SELECT id, name, email, phone, position, is_primary FROM crm.contacts WHERE customer_id = $1 ORDER BY created_at, id LIMIT 200"
store.insert_contact = [[INSERT INTO crm.contacts (id, customer_id, name, email, phone, position, is_primary, created_at) VALUES ($1, $2, $3, $4,
  $5, $6, $7, $8)]]
store.clear_primary = "UPDATE crm.contacts SET is_primary = false WHERE customer_id = $1 AND is_primary"

local INTERACTIONS = "SELECT id, kind, subject, body, occurred_at, created_by FROM crm.interactions WHERE customer_id = $1 "
store.interactions_first = INTERACTIONS .. "ORDER BY occurred_at DESC, id DESC LIMIT $2"
store.interactions = INTERACTIONS .. "AND (occurred_at, id) < ($2::timestamptz, $3::uuid) ORDER BY occurred_at DESC, id DESC LIMIT $4"
store.insert_interaction = [[INSERT INTO crm.interactions (id, customer_id, kind, subject, body, occurred_at, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)]]

-- For many sales at once; leads are locked in the order of their ids, so that two batches cannot lock each other out.
store.activate_leads = [[WITH leads AS (
  SELECT id FROM crm.customers WHERE id = ANY ($1::uuid[]) AND status = 'LEAD' ORDER BY id FOR NO KEY UPDATE)
UPDATE crm.customers c SET status = 'ACTIVE', updated_at = $2, version = version + 1 FROM leads WHERE c.id = leads.id]]
-- A quotation has one interaction per topic, whatever arrives how often; $5 and $6 are those of all.
store.insert_system = [[INSERT INTO crm.interactions (id, customer_id, kind, subject, occurred_at, quotation_id, topic, created_at)
SELECT n.id, n.customer_id, 'SYSTEM', n.subject, $6::timestamptz, n.quotation_id, $5, $6::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[]) AS n (id, customer_id, subject, quotation_id)
ON CONFLICT (quotation_id, topic) WHERE kind = 'SYSTEM' DO NOTHING]]

return store
