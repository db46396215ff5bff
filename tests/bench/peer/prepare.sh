#!/usr/bin/env bash
# Makes our schema in an empty database and copies the contract's data (schemas bench_*) under the same ids.
# Stock comes through the ledger, products are exempt from tax, and the token's user exists.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
export SHAMA_ROOT=$root JWT_SECRET=${JWT_SECRET:-bench-secret-0123456789abcdef-0123456789abcdef}
"${SHAMA_BIN:-$root/build/shama}" migrate up
psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" <<'SQL'
SET session_replication_role = replica; -- no triggers, no foreign keys: the data is known to be right
INSERT INTO crm.customers (id, kind, name, email, status) SELECT id, 'COMPANY', name, email, 'LEAD' FROM bench_crm.customers;
INSERT INTO identity.users (id, email, password_hash, full_name, roles)
VALUES ('11111111-1111-4111-8111-111111111111', 'bench@example.com', 'none', 'Bench User', '{SALES,ADMIN}');
INSERT INTO inventory.products (id, sku, name, unit, price, tax_category) SELECT id, sku, name, 'unit', price, 'exempt' FROM bench_inventory.products;
INSERT INTO sales.quotations (id, customer_id, customer_name, status, subtotal, total_amount, item_count, created_at, created_by, version,
                              number, submitted_at, sold_at)
SELECT q.id, q.customer_id, c.name, q.status, q.total_amount, q.total_amount, 3, q.created_at, q.created_by, q.version,
       CASE WHEN q.status IN ('PENDING', 'SOLD') THEN 'BENCH-' || q.id END,
       CASE WHEN q.status IN ('PENDING', 'SOLD') THEN q.created_at END, CASE WHEN q.status = 'SOLD' THEN q.created_at END
FROM bench_sales.quotations q JOIN bench_crm.customers c ON c.id = q.customer_id;
INSERT INTO sales.quotation_items (id, quotation_id, product_id, product_name, quantity, unit_price, unit_price_snapshot, line_total, position)
SELECT id, quotation_id, product_id, product_name, quantity, unit_price, unit_price_snapshot, quantity * unit_price,
       row_number() OVER (PARTITION BY quotation_id ORDER BY id)
FROM bench_sales.quotation_items;
SET session_replication_role = origin;
INSERT INTO inventory.stock_movements (id, product_id, kind, quantity, signed_quantity, reason)
SELECT gen_random_uuid(), id, 'RECEIPT', stock, stock, 'opening' FROM bench_inventory.products;
SQL
