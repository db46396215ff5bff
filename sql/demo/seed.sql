-- Demo data for development: four logins, a customer of each kind, a small catalogue with stock. Running it again changes nothing.
--
-- Statements are separated by lines `-- statement`. A statement with a `$1` takes one parameter: the argon2id hash of the demo password
-- ("shama-demo"), made by whoever runs this file. Nothing else takes parameters.

-- statement
INSERT INTO crm.customers (id, kind, name, tax_id, email, phone, address, status) VALUES
  ('c0000000-0000-4000-8000-000000000001', 'COMPANY', 'Panadería La Espiga Ñandú S.A.', 'J-30123456-1', 'compras@laespiga.example', '+58 212 5550101',
   '{"street": "Av. Urdaneta 12", "city": "Caracas", "region": "Distrito Capital", "postal_code": "1010", "country": "VE"}', 'LEAD'),
  ('c0000000-0000-4000-8000-000000000002', 'COMPANY', 'Construcciones Peñalver C.A.', 'J-29876543-2', 'admin@penalver.example', '+58 241 5550102',
   '{"street": "Calle Colombia 45", "city": "Valencia", "region": "Carabobo", "postal_code": "2001", "country": "VE"}', 'ACTIVE'),
  ('c0000000-0000-4000-8000-000000000003', 'PERSON', 'María José Núñez', 'V-12345678', 'customer@shama.local', '+58 414 5550103', NULL, 'LEAD')
ON CONFLICT DO NOTHING

-- statement
INSERT INTO identity.users (id, email, password_hash, full_name, roles)
VALUES ('a0000000-0000-4000-8000-000000000001', 'admin@shama.local', $1, 'Ada Admin', '{ADMIN}')
ON CONFLICT DO NOTHING

-- statement
INSERT INTO identity.users (id, email, password_hash, full_name, roles)
VALUES ('a0000000-0000-4000-8000-000000000002', 'sales@shama.local', $1, 'Samuel Ventas', '{SALES}')
ON CONFLICT DO NOTHING

-- statement
INSERT INTO identity.users (id, email, password_hash, full_name, roles)
VALUES ('a0000000-0000-4000-8000-000000000003', 'inventory@shama.local', $1, 'Inés Almacén', '{INVENTORY}')
ON CONFLICT DO NOTHING

-- statement
INSERT INTO identity.users (id, email, password_hash, full_name, roles, customer_id)
VALUES ('a0000000-0000-4000-8000-000000000004', 'customer@shama.local', $1, 'María José Núñez', '{CUSTOMER}', 'c0000000-0000-4000-8000-000000000003')
ON CONFLICT DO NOTHING

-- statement
INSERT INTO inventory.products (id, sku, name, description, category, unit, price, cost, tax_category, reorder_level) VALUES
  ('b0000000-0000-4000-8000-000000000001', 'HAR-001', 'Harina de maíz precocida 1 kg', 'Saco de veinte paquetes', 'Alimentos', 'paquete', 1.45, 1.10, 'reduced', 50),
  ('b0000000-0000-4000-8000-000000000002', 'CAF-250', 'Café molido «Montaña» 250 g', 'Tueste medio', 'Alimentos', 'paquete', 4.90, 3.20, 'reduced', 20),
  ('b0000000-0000-4000-8000-000000000003', 'TAL-650', 'Taladro percutor 650 W', 'Con maletín y diez mechas', 'Herramientas', 'pieza', 89.90, 61.50, 'standard', 5),
  ('b0000000-0000-4000-8000-000000000004', 'CEM-042', 'Cemento gris 42,5 kg', NULL, 'Construcción', 'saco', 9.75, 7.80, 'standard', 40),
  ('b0000000-0000-4000-8000-000000000005', 'LIB-100', 'Cuaderno rayado 100 hojas', NULL, 'Papelería', 'pieza', 2.30, 1.05, 'exempt', 30)
ON CONFLICT DO NOTHING

-- statement
INSERT INTO inventory.stock_movements (id, product_id, kind, quantity, signed_quantity, reason)
SELECT ('d' || substr(p.id::text, 2))::uuid, p.id, 'RECEIPT', 120, 120, 'Existencia inicial'
FROM inventory.products p
WHERE p.id::text LIKE 'b0000000-0000-4000-8000-00000000000_'
ON CONFLICT DO NOTHING
