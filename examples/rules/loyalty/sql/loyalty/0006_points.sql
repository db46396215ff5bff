-- Loyalty: what each sale earned.

CREATE SCHEMA loyalty;
GRANT USAGE ON SCHEMA platform, identity, crm, loyalty TO loyalty_service_role;
GRANT USAGE ON SCHEMA loyalty TO shama_readonly;

CREATE TABLE loyalty.sales (
  quotation_id uuid PRIMARY KEY,
  customer_id  uuid NOT NULL,
  points       integer NOT NULL CHECK (points >= 0),
  undone       boolean NOT NULL DEFAULT false,
  at           timestamptz NOT NULL
);
CREATE INDEX sales_customer_idx ON loyalty.sales (customer_id);

-- Events on their way out (here: those that could not be applied), and those that took effect. Every service has both.
CREATE TABLE loyalty.outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  headers      jsonb NOT NULL,
  payload      bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON loyalty.outbox (id) WHERE published_at IS NULL;
CREATE TABLE loyalty.inbox (
  consumer     text NOT NULL,
  event_id     uuid NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);

-- Row-level security: the service, and the read-only login.
ALTER TABLE loyalty.sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.sales FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON loyalty.sales FOR ALL TO loyalty_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON loyalty.sales FOR SELECT TO shama_readonly USING (true);
ALTER TABLE loyalty.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON loyalty.outbox FOR ALL TO loyalty_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON loyalty.outbox FOR SELECT TO shama_readonly USING (true);
ALTER TABLE loyalty.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON loyalty.inbox FOR ALL TO loyalty_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON loyalty.inbox FOR SELECT TO shama_readonly USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA loyalty TO loyalty_service_role;
GRANT SELECT ON ALL TABLES IN SCHEMA loyalty TO shama_readonly;

-- What it sees of others: the views of its manifest's `reads`.
GRANT SELECT ON crm.customer_names, identity.user_status TO loyalty_service_role;
