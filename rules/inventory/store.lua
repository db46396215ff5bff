-- All SQL of inventory.
local store = {}

local PUBLIC = "id, sku, name, description, category, unit, price, tax_category, active, created_at, updated_at, version"
local COLUMNS = [[id, sku, name, description, category, unit, price, cost, tax_category, reorder_level, active, stock_on_hand, stock_reserved,
  stock_available,
created_at, updated_at, version]]

-- $1 pattern, $2 category, $3 active, $4 low stock only, $5 and $6 cursor, $7 limit
local FILTER = [[ FROM inventory.products
WHERE ($1::text IS NULL OR search LIKE $1::text) AND ($2::text IS NULL OR category = $2::text) AND ($3::boolean IS NULL OR active = $3::boolean)
  AND (NOT coalesce($4::boolean, false) OR stock_available <= reorder_level)
  AND ($5::timestamptz IS NULL OR (created_at, id) < ($5::timestamptz, $6::uuid))
ORDER BY created_at DESC, id DESC LIMIT $7]]

store.list = "SELECT " .. COLUMNS .. FILTER
store.list_public = "SELECT " .. PUBLIC .. FILTER
store.get = "SELECT " .. COLUMNS .. " FROM inventory.products WHERE id = $1"
store.get_public = "SELECT " .. PUBLIC .. " FROM inventory.products WHERE id = $1 AND active"
store.lock = "SELECT " .. COLUMNS .. " FROM inventory.products WHERE id = $1 FOR NO KEY UPDATE"
store.insert = [[INSERT INTO inventory.products (id, sku, name, description, category, unit, price, cost, tax_category, reorder_level, active,
  created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)]]
store.update = [[UPDATE inventory.products SET sku = $3, name = $4, description = $5, category = $6, unit = $7, price = $8, cost = $9,
  tax_category = $10,
  reorder_level = $11, active = $12, updated_at = $13, version = $2 WHERE id = $1]]
store.insert_price = "INSERT INTO inventory.price_history (id, product_id, price, previous, changed_at, changed_by) VALUES ($1, $2, $3, $4, $5, $6)"

local PRICES = "SELECT id, price, previous, changed_at, changed_by FROM inventory.price_history WHERE product_id = $1 "
store.prices_first = PRICES .. "ORDER BY changed_at DESC, id DESC LIMIT $2"
store.prices = PRICES .. "AND (changed_at, id) < ($2::timestamptz, $3::uuid) ORDER BY changed_at DESC, id DESC LIMIT $4"

local MOVEMENTS = [[SELECT id, product_id, kind, quantity, signed_quantity, reason, reference, created_at, created_by FROM inventory.stock_movements
WHERE product_id = $1 ]]
store.movements_first = MOVEMENTS .. "ORDER BY created_at DESC, id DESC LIMIT $2"
store.movements = MOVEMENTS .. "AND (created_at, id) < ($2::timestamptz, $3::uuid) ORDER BY created_at DESC, id DESC LIMIT $4"
store.insert_movement = [[INSERT INTO inventory.stock_movements (id, product_id, kind, quantity, signed_quantity, reason, reference, created_at,
  created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)]]

-- Sales of many quotations at once. Products are locked in the order of their ids, so that two batches cannot lock each other out. Then the
-- quotations are claimed: those that something became of before do not come back. (By INSERT, which always goes by the key: a SELECT
-- prepared while the table was empty would read all of it for ever.)
store.lock_many = [[SELECT id, sku, name, stock_on_hand, reorder_level FROM inventory.products
  WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE]]
store.claim = [[INSERT INTO inventory.quotation_outcomes (quotation_id, outcome, decided_at)
SELECT id, 'REDUCED', $2 FROM unnest($1::uuid[]) AS id ON CONFLICT DO NOTHING RETURNING quotation_id]]
store.reject = "UPDATE inventory.quotation_outcomes SET outcome = 'REJECTED' WHERE quotation_id = ANY ($1::uuid[])"
store.insert_sales = [[INSERT INTO inventory.stock_movements (id, product_id, kind, quantity, signed_quantity, reference, quotation_id,
  quotation_item_id, created_at)
SELECT n.id, n.product_id, 'SALE', n.quantity, -n.quantity, n.reference, n.quotation_id, n.item_id, $7::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::uuid[], $6::uuid[]) AS n (id, product_id, quantity, reference, quotation_id,
  item_id)]]

return store
