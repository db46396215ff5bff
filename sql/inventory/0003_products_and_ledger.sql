-- Inventory: the catalogue, its price history, and the stock ledger that alone changes what is on hand.

CREATE TABLE inventory.products (
  id              uuid PRIMARY KEY,
  sku             text NOT NULL CONSTRAINT products_sku_key UNIQUE,
  name            text NOT NULL,
  description     text,
  category        text,
  unit            text NOT NULL DEFAULT 'unit',
  price           numeric(10,2) NOT NULL CONSTRAINT products_price_not_negative CHECK (price >= 0),
  cost            numeric(10,2) CONSTRAINT products_cost_not_negative CHECK (cost >= 0),
  tax_category    text NOT NULL DEFAULT 'standard',
  reorder_level   integer NOT NULL DEFAULT 0 CHECK (reorder_level >= 0),
  active          boolean NOT NULL DEFAULT true,
  stock_on_hand   integer NOT NULL DEFAULT 0 CONSTRAINT products_stock_never_negative CHECK (stock_on_hand >= 0),
  stock_reserved  integer NOT NULL DEFAULT 0 CHECK (stock_reserved >= 0),
  stock_available integer GENERATED ALWAYS AS (stock_on_hand - stock_reserved) STORED,
  search          text GENERATED ALWAYS AS (platform.fold(sku || ' ' || name || ' ' || coalesce(category, '') || ' ' || coalesce(description, ''))) STORED,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  version         integer NOT NULL DEFAULT 1
) WITH (fillfactor = 70); -- a sale changes stock_on_hand only, which no index holds: room on the page keeps that update in place
CREATE INDEX products_recent_idx ON inventory.products (created_at DESC, id DESC);
CREATE INDEX products_category_idx ON inventory.products (category) WHERE category IS NOT NULL;

CREATE TABLE inventory.price_history (
  id         uuid PRIMARY KEY,
  product_id uuid NOT NULL REFERENCES inventory.products (id),
  price      numeric(10,2) NOT NULL,
  previous   numeric(10,2),
  changed_at timestamptz NOT NULL,
  changed_by uuid
);
CREATE INDEX price_history_product_idx ON inventory.price_history (product_id, changed_at DESC, id DESC);

-- The ledger. On hand is the sum of signed_quantity; a row is never changed and never taken away.
CREATE TABLE inventory.stock_movements (
  id                uuid PRIMARY KEY,
  product_id        uuid NOT NULL REFERENCES inventory.products (id),
  kind              text NOT NULL CONSTRAINT stock_movements_kind CHECK (kind IN ('RECEIPT', 'ISSUE', 'ADJUSTMENT', 'SALE', 'RETURN')),
  quantity          integer NOT NULL,
  signed_quantity   integer NOT NULL CONSTRAINT stock_movements_not_zero CHECK (signed_quantity <> 0),
  reason            text,
  reference         text,
  quotation_id      uuid,
  quotation_item_id uuid,
  created_at        timestamptz NOT NULL DEFAULT now(),
  created_by        uuid,
  CONSTRAINT stock_movements_sign CHECK (CASE kind
    WHEN 'RECEIPT' THEN signed_quantity = quantity AND quantity > 0
    WHEN 'RETURN' THEN signed_quantity = quantity AND quantity > 0
    WHEN 'ADJUSTMENT' THEN signed_quantity = quantity
    ELSE signed_quantity = -quantity AND quantity > 0 END)
);
CREATE INDEX stock_movements_product_idx ON inventory.stock_movements (product_id, created_at DESC, id DESC);
CREATE UNIQUE INDEX stock_movements_one_sale_idx ON inventory.stock_movements (quotation_item_id) WHERE kind = 'SALE';

-- What became of a sold quotation here, so that its event changes nothing when it is replayed under another id.
CREATE TABLE inventory.quotation_outcomes (
  quotation_id uuid PRIMARY KEY,
  outcome      text NOT NULL CHECK (outcome IN ('REDUCED', 'REJECTED')),
  decided_at   timestamptz NOT NULL
);

-- Only this function writes stock_on_hand: the service's own grants leave that column out. It runs as the owner, once a statement.
-- Its plan is kept by the session, so it must not depend on how many rows came the first time: always by the products' key.
CREATE FUNCTION inventory.apply_movements() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  UPDATE inventory.products p SET stock_on_hand = p.stock_on_hand + d.delta
  FROM (SELECT m.product_id, sum(m.signed_quantity)::integer AS delta FROM added m GROUP BY m.product_id) d
  WHERE p.id = d.product_id;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION inventory.apply_movements() FROM PUBLIC;
CREATE TRIGGER stock_movements_apply AFTER INSERT ON inventory.stock_movements
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION inventory.apply_movements();

CREATE FUNCTION inventory.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  RAISE EXCEPTION 'the stock ledger is only added to: correct it with an ADJUSTMENT'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'stock_movements_immutable';
END $$;
CREATE TRIGGER stock_movements_immutable BEFORE UPDATE OR DELETE ON inventory.stock_movements
  FOR EACH ROW EXECUTE FUNCTION inventory.refuse_change();

-- Events on their way out: written with the change, sent by the relay, marked when the broker has them.
CREATE TABLE inventory.outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  headers      jsonb NOT NULL,
  payload      bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON inventory.outbox (id) WHERE published_at IS NULL;

-- Events that took effect here: written with the effect, so that none takes effect twice.
CREATE TABLE inventory.inbox (
  consumer     text NOT NULL,
  event_id     uuid NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);

-- Row-level security: the service, and the read-only login.
ALTER TABLE inventory.products ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.products FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.products FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.products FOR SELECT TO shama_readonly USING (true);
ALTER TABLE inventory.price_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.price_history FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.price_history FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.price_history FOR SELECT TO shama_readonly USING (true);
ALTER TABLE inventory.stock_movements ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.stock_movements FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.stock_movements FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.stock_movements FOR SELECT TO shama_readonly USING (true);
ALTER TABLE inventory.quotation_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.quotation_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.quotation_outcomes FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.quotation_outcomes FOR SELECT TO shama_readonly USING (true);
ALTER TABLE inventory.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.outbox FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.outbox FOR SELECT TO shama_readonly USING (true);
ALTER TABLE inventory.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON inventory.inbox FOR ALL TO inventory_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON inventory.inbox FOR SELECT TO shama_readonly USING (true);

GRANT SELECT, DELETE ON inventory.products TO inventory_service_role;
GRANT INSERT (id, sku, name, description, category, unit, price, cost, tax_category, reorder_level, active, stock_reserved, created_at, updated_at, version),
      UPDATE (sku, name, description, category, unit, price, cost, tax_category, reorder_level, active, stock_reserved, updated_at, version)
  ON inventory.products TO inventory_service_role;
GRANT SELECT, INSERT ON inventory.stock_movements, inventory.price_history, inventory.quotation_outcomes TO inventory_service_role;
GRANT UPDATE (outcome) ON inventory.quotation_outcomes TO inventory_service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON inventory.outbox, inventory.inbox TO inventory_service_role;
GRANT SELECT ON ALL TABLES IN SCHEMA inventory TO shama_readonly;

-- What other services see of the catalogue: no stock, no text beyond what a quotation shows.
GRANT CREATE ON SCHEMA inventory TO shama_views;
GRANT SELECT (id, sku, name, price, cost, tax_category, active) ON inventory.products TO shama_views;
CREATE POLICY views ON inventory.products FOR SELECT TO shama_views USING (true);
CREATE VIEW inventory.product_catalog AS SELECT id, sku, name, price, cost, tax_category, active FROM inventory.products;
ALTER VIEW inventory.product_catalog OWNER TO shama_views;
REVOKE CREATE ON SCHEMA inventory FROM shama_views;
GRANT SELECT ON inventory.product_catalog
  TO sales_service_role, inventory_service_role, crm_service_role, identity_service_role, shama_readonly;
