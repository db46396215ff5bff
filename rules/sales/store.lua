-- All SQL of sales. Statements are constants: they are prepared once per connection by their text.
--
-- LIMIT stands in the text of the common page sizes: with LIMIT $1 Postgres never settles on a cached plan for a prepared list.
local store = {}

local SUMMARY = [[SELECT id, number, status, total_amount, currency, created_at, valid_until, version, customer_id, customer_name, item_count
FROM sales.quotations ]]

local PAGE_SIZES = { 10, 20, 25, 50, 100, 200 }

-- The newest, and what follows a cursor.
local RECENT = SUMMARY .. "ORDER BY created_at DESC, id DESC LIMIT "
local RECENT_AFTER = SUMMARY .. "WHERE (created_at, id) < ($1::timestamptz, $2::uuid) ORDER BY created_at DESC, id DESC LIMIT "
store.recent, store.recent_after = {}, {}
for _, size in ipairs(PAGE_SIZES) do
  store.recent[size] = RECENT .. size
  store.recent_after[size] = RECENT_AFTER .. size
end

-- $1 status, $2 customer, $3 from, $4 to, $5 pattern, $6 and $7 cursor, $8 limit
store.list = SUMMARY .. [[
WHERE ($1::text IS NULL OR status = $1::text) AND ($2::uuid IS NULL OR customer_id = $2::uuid)
  AND ($3::date IS NULL OR created_at >= $3::date) AND ($4::date IS NULL OR created_at < $4::date + 1)
  AND ($5::text IS NULL OR number ILIKE $5::text OR platform.fold(customer_name) LIKE $5::text)
  AND ($6::timestamptz IS NULL OR (created_at, id) < ($6::timestamptz, $7::uuid))
ORDER BY created_at DESC, id DESC LIMIT $8]]

local COLUMNS = [[id, number, revision, superseded_by, status, customer_id, customer_name, currency, valid_until, notes, discount_percent,
subtotal, discount_total, tax_total, total_amount, rounding, created_at, created_by, updated_at, submitted_at, sold_at, cancel_reason, version]]

store.get = "SELECT " .. COLUMNS .. " FROM sales.quotations WHERE id = $1"
store.items = [[SELECT id, product_id, product_name, quantity, unit_price, unit_price_snapshot, discount_percent, tax_rate, line_total
FROM sales.quotation_items WHERE quotation_id = $1 ORDER BY position]]

store.lock = "SELECT " .. COLUMNS .. ", item_count, authorized_at FROM sales.quotations WHERE id = $1 FOR UPDATE"
-- The lines beside the catalogue as it is now.
store.items_and_catalogue = [[SELECT i.id, i.product_id, i.product_name, i.quantity, i.unit_price, i.unit_price_snapshot, i.discount_percent,
  i.tax_rate,
  i.line_total, p.price AS current_price, p.cost, p.tax_category, p.active
FROM sales.quotation_items i LEFT JOIN inventory.product_catalog p ON p.id = i.product_id
WHERE i.quotation_id = $1 ORDER BY i.position]]

store.products = "SELECT id, name, price, cost, tax_category, active FROM inventory.product_catalog WHERE id = ANY ($1::uuid[])"
store.customer = "SELECT id, name, status FROM crm.customer_names WHERE id = $1"

store.insert = [[INSERT INTO sales.quotations (id, customer_id, customer_name, status, currency, valid_until, notes, discount_percent, subtotal,
  discount_total,
  tax_total, total_amount, rounding, item_count, created_at, created_by, updated_at, event_stream)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $15, $17)]]
store.insert_items = [[INSERT INTO sales.quotation_items (id, quotation_id, position, product_id, product_name, quantity, unit_price,
  discount_percent, tax_rate, line_total)
SELECT n.id, $1, n.position, n.product_id, n.product_name, n.quantity, n.unit_price, n.discount_percent, n.tax_rate, n.line_total
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::integer[], $6::numeric[], $7::numeric[], $8::numeric[], $9::numeric[]) WITH ORDINALITY
  AS n (id, product_id, product_name, quantity, unit_price, discount_percent, tax_rate, line_total, position)]]
store.delete_items = "DELETE FROM sales.quotation_items WHERE quotation_id = $1"
store.delete = "DELETE FROM sales.quotations WHERE id = $1"

-- An edit of a draft: its terms and amounts; what was authorized no longer holds.
store.update_terms = [[UPDATE sales.quotations SET valid_until = $3, notes = $4, currency = $5, discount_percent = $6, subtotal = $7,
  discount_total = $8, tax_total = $9, total_amount = $10, rounding = $11, item_count = $12, authorized_at = NULL, authorized_by = NULL,
  version = $2, updated_at = $13, event_stream = event_stream || $14::jsonb WHERE id = $1]]
-- A step in the life of a quotation that changes no money.
store.move = [[UPDATE sales.quotations SET status = $3, version = $2, updated_at = $4, submitted_at = coalesce($5, submitted_at),
  cancel_reason = coalesce($6, cancel_reason), event_stream = event_stream || $7::jsonb WHERE id = $1]]
store.authorize = [[UPDATE sales.quotations SET authorized_at = $3, authorized_by = $4, version = $2, updated_at = $3,
  event_stream = event_stream || $5::jsonb WHERE id = $1]]

-- Approval: the lines' snapshots while the quotation is still PENDING, then the quotation.
store.freeze_items = [[UPDATE sales.quotation_items i SET unit_price_snapshot = n.price, line_total = n.line_total
FROM unnest($2::uuid[], $3::numeric[], $4::numeric[]) AS n (id, price, line_total) WHERE i.quotation_id = $1 AND i.id = n.id]]
store.sell = [[UPDATE sales.quotations SET status = 'SOLD', subtotal = $3, discount_total = $4, tax_total = $5, total_amount = $6, version = $2,
  updated_at = $7, sold_at = $7, event_stream = event_stream || $8::jsonb WHERE id = $1]]

-- The next number of a year. Its row stays locked until the commit, so this is the last statement before it: $2 year, $3 prefix "COT-2026-".
store.give_number = [[WITH next AS (
  INSERT INTO sales.quotation_numbers AS n (year, last) VALUES ($2, 1) ON CONFLICT (year) DO UPDATE SET last = n.last + 1 RETURNING last)
UPDATE sales.quotations SET number = $3 || lpad(next.last::text, greatest(6, length(next.last::text)), '0') FROM next WHERE id = $1 RETURNING number]]

store.record = [[INSERT INTO sales.decisions (id, entity_id, command, at, by_user, rules_version, facts, result, policy)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)]]

store.events = "SELECT customer_id, event_stream FROM sales.quotations WHERE id = $1"
store.exists = "SELECT id FROM sales.quotations WHERE id = $1"
-- Oldest first by their place in the table, a bounded number at a time.
store.forget = [[DELETE FROM sales.decisions WHERE (entity_id, id) IN
  (SELECT entity_id, id FROM sales.decisions WHERE at < now() - make_interval(days => $1::int) LIMIT 512)]]
store.decisions = [[SELECT id, command, at, by_user AS "by", rules_version AS rules, facts - 'known' AS facts, result, policy FROM sales.decisions
WHERE entity_id = $1 ORDER BY id LIMIT 200]]

-- The name as crm has it now: whichever order the events come in, the last one is right.
store.rename_customers = [[UPDATE sales.quotations q SET customer_name = c.name FROM crm.customer_names c
WHERE c.id = ANY ($1::uuid[]) AND q.customer_id = c.id AND q.customer_name <> c.name]]

return store
