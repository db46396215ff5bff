-- Sales: quotations and their lines, numbers, the record of decisions; and what may never change once it is sold.

CREATE TABLE sales.quotations (
  id                  uuid PRIMARY KEY,
  number              text,
  revision            integer NOT NULL DEFAULT 1 CHECK (revision > 0),
  superseded_by       uuid REFERENCES sales.quotations (id),
  customer_id         uuid NOT NULL CONSTRAINT quotations_customer_id_fkey REFERENCES crm.customers (id),
  customer_name       text NOT NULL DEFAULT '', -- follows crm's events
  status              varchar(20) NOT NULL CONSTRAINT quotations_status CHECK (status IN ('DRAFT', 'PENDING', 'SOLD', 'CANCELLED')),
  currency            text NOT NULL DEFAULT 'USD',
  valid_until         date,
  notes               text,
  discount_percent    numeric(5,2) NOT NULL DEFAULT 0 CHECK (discount_percent BETWEEN 0 AND 100),
  subtotal            numeric(10,2) NOT NULL DEFAULT 0,
  discount_total      numeric(10,2) NOT NULL DEFAULT 0,
  tax_total           numeric(10,2) NOT NULL DEFAULT 0,
  total_amount        numeric(10,2) NOT NULL CONSTRAINT quotations_total_not_negative CHECK (total_amount >= 0),
  rounding            text NOT NULL DEFAULT 'line/half_up',
  item_count          integer NOT NULL DEFAULT 0,
  created_at          timestamptz NOT NULL DEFAULT now(),
  created_by          uuid NOT NULL,
  updated_at          timestamptz,
  submitted_at        timestamptz,
  sold_at             timestamptz,
  cancel_reason       text,
  authorized_at       timestamptz, -- an ADMIN's consent to a discount or margin beyond the seller's limit
  authorized_by       uuid,
  version             integer NOT NULL DEFAULT 1,
  event_stream        jsonb NOT NULL DEFAULT '[]'
) WITH (fillfactor = 85);
CREATE INDEX quotations_open_idx ON sales.quotations (status) WHERE status IN ('PENDING', 'DRAFT');
CREATE INDEX quotations_customer_idx ON sales.quotations (customer_id, created_at DESC);
CREATE INDEX quotations_recent_idx ON sales.quotations (created_at DESC, id DESC);
CREATE INDEX quotations_events_idx ON sales.quotations USING gin (event_stream jsonb_path_ops);
CREATE UNIQUE INDEX quotations_number_idx ON sales.quotations (number, revision) WHERE number IS NOT NULL;

CREATE TABLE sales.quotation_items (
  id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  quotation_id        uuid NOT NULL REFERENCES sales.quotations (id) ON DELETE CASCADE,
  position            integer NOT NULL DEFAULT 0,
  product_id          uuid NOT NULL CONSTRAINT quotation_items_product_id_fkey REFERENCES inventory.products (id),
  product_name        text NOT NULL,
  quantity            integer NOT NULL CHECK (quantity > 0),
  unit_price          numeric(10,2) NOT NULL,
  unit_price_snapshot numeric(10,2), -- set at approval; a line that has one is frozen
  discount_percent    numeric(5,2) NOT NULL DEFAULT 0 CHECK (discount_percent BETWEEN 0 AND 100),
  tax_rate            numeric(5,2) NOT NULL DEFAULT 0 CHECK (tax_rate >= 0),
  line_total          numeric(10,2) NOT NULL DEFAULT 0 -- after the line's discount; before the quotation's and tax
);
CREATE INDEX quotation_items_quotation_idx ON sales.quotation_items (quotation_id, position);

CREATE TABLE sales.quotation_numbers (
  year integer PRIMARY KEY,
  last integer NOT NULL
);

-- Why a quotation is as it is: what was asked, what was known, what came of it, by which rules and values.
CREATE TABLE sales.decisions (
  id            uuid NOT NULL,
  entity_id     uuid NOT NULL,
  command       text NOT NULL,
  at            timestamptz NOT NULL,
  by_user       uuid, -- null: an event or a schedule
  rules_version text NOT NULL,
  facts         jsonb NOT NULL,
  result        jsonb NOT NULL,
  policy        jsonb NOT NULL,
  PRIMARY KEY (entity_id, id) -- ids grow with time
);

CREATE INDEX decisions_at_idx ON sales.decisions USING brin (at); -- for retention: rows stand in the order of their time

-- SOLD is for good: money, lines, customer and number stay. The one way out is the compensation SOLD -> CANCELLED.
-- The conditions stand in WHEN, so that no function runs for what is allowed.
CREATE FUNCTION sales.refuse_sold_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  RAISE EXCEPTION 'a sold quotation cannot be changed' USING ERRCODE = 'check_violation', CONSTRAINT = 'quotation_sold_immutable';
END $$;
CREATE TRIGGER quotations_sold_immutable BEFORE UPDATE ON sales.quotations
  FOR EACH ROW WHEN (OLD.sold_at IS NOT NULL AND
    (NEW.status NOT IN ('SOLD', 'CANCELLED') OR (OLD.status = 'CANCELLED' AND NEW.status <> 'CANCELLED') OR
     (NEW.id, NEW.number, NEW.revision, NEW.customer_id, NEW.currency, NEW.discount_percent, NEW.subtotal, NEW.discount_total,
      NEW.tax_total, NEW.total_amount, NEW.rounding, NEW.item_count, NEW.created_at, NEW.created_by, NEW.submitted_at, NEW.sold_at) IS DISTINCT FROM
     (OLD.id, OLD.number, OLD.revision, OLD.customer_id, OLD.currency, OLD.discount_percent, OLD.subtotal, OLD.discount_total,
      OLD.tax_total, OLD.total_amount, OLD.rounding, OLD.item_count, OLD.created_at, OLD.created_by, OLD.submitted_at, OLD.sold_at)))
  EXECUTE FUNCTION sales.refuse_sold_change();
CREATE TRIGGER quotations_sold_not_deleted BEFORE DELETE ON sales.quotations
  FOR EACH ROW WHEN (OLD.sold_at IS NOT NULL OR OLD.number IS NOT NULL) EXECUTE FUNCTION sales.refuse_sold_change();
ALTER TABLE sales.quotations ADD CONSTRAINT quotations_sold_has_time CHECK (status <> 'SOLD' OR sold_at IS NOT NULL);

CREATE TRIGGER quotation_items_frozen BEFORE UPDATE ON sales.quotation_items
  FOR EACH ROW WHEN (OLD.unit_price_snapshot IS NOT NULL OR NEW.quotation_id <> OLD.quotation_id) EXECUTE FUNCTION sales.refuse_sold_change();
CREATE TRIGGER quotation_items_kept BEFORE DELETE ON sales.quotation_items
  FOR EACH ROW WHEN (OLD.unit_price_snapshot IS NOT NULL) EXECUTE FUNCTION sales.refuse_sold_change();

-- No line is added to what was sold: asked once a statement.
CREATE FUNCTION sales.refuse_sold_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF EXISTS (SELECT FROM added a JOIN sales.quotations q ON q.id = a.quotation_id WHERE q.sold_at IS NOT NULL) THEN
    RAISE EXCEPTION 'a sold quotation takes no further lines' USING ERRCODE = 'check_violation', CONSTRAINT = 'quotation_sold_immutable';
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION sales.refuse_sold_lines() FROM PUBLIC;
CREATE TRIGGER quotation_items_closed AFTER INSERT ON sales.quotation_items
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sales.refuse_sold_lines();

-- Events on their way out: written with the change, sent by the relay, marked when the broker has them.
CREATE TABLE sales.outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  headers      jsonb NOT NULL,
  payload      bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON sales.outbox (id) WHERE published_at IS NULL;

-- Events that took effect here: written with the effect, so that none takes effect twice.
CREATE TABLE sales.inbox (
  consumer     text NOT NULL,
  event_id     uuid NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);

-- Row-level security: the service, and the read-only login.
ALTER TABLE sales.quotations ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.quotations FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.quotations FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.quotations FOR SELECT TO shama_readonly USING (true);
ALTER TABLE sales.quotation_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.quotation_items FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.quotation_items FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.quotation_items FOR SELECT TO shama_readonly USING (true);
ALTER TABLE sales.quotation_numbers ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.quotation_numbers FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.quotation_numbers FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.quotation_numbers FOR SELECT TO shama_readonly USING (true);
ALTER TABLE sales.decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.decisions FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.decisions FOR SELECT TO shama_readonly USING (true);
ALTER TABLE sales.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.outbox FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.outbox FOR SELECT TO shama_readonly USING (true);
ALTER TABLE sales.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON sales.inbox FOR ALL TO sales_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON sales.inbox FOR SELECT TO shama_readonly USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON sales.quotations, sales.quotation_items, sales.outbox, sales.inbox TO sales_service_role;
GRANT SELECT, INSERT, UPDATE ON sales.quotation_numbers TO sales_service_role;
GRANT SELECT, INSERT, DELETE ON sales.decisions TO sales_service_role; -- DELETE: retention
GRANT SELECT ON ALL TABLES IN SCHEMA sales TO shama_readonly;
