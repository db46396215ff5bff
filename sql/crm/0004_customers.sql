-- CRM: customers, their contacts, and what passed between us.

CREATE TABLE crm.customers (
  id         uuid PRIMARY KEY,
  kind       text NOT NULL DEFAULT 'COMPANY' CONSTRAINT customers_kind CHECK (kind IN ('PERSON', 'COMPANY')),
  name       text NOT NULL,
  tax_id     text,
  email      text,
  phone      text,
  address    jsonb,
  status     text NOT NULL DEFAULT 'LEAD' CONSTRAINT customers_status CHECK (status IN ('LEAD', 'ACTIVE', 'INACTIVE')),
  owner_id   uuid,
  search     text GENERATED ALWAYS AS (platform.fold(name || ' ' || coalesce(tax_id, '') || ' ' || coalesce(email, '') || ' ' || coalesce(phone, ''))) STORED,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  version    integer NOT NULL DEFAULT 1
);
CREATE INDEX customers_recent_idx ON crm.customers (created_at DESC, id DESC);
-- Who may be the same: asked at every create.
CREATE INDEX customers_tax_id_idx ON crm.customers (tax_id) WHERE tax_id IS NOT NULL;
CREATE INDEX customers_email_idx ON crm.customers (lower(email)) WHERE email IS NOT NULL;
CREATE INDEX customers_name_idx ON crm.customers (platform.fold(name));

CREATE TABLE crm.contacts (
  id          uuid PRIMARY KEY,
  customer_id uuid NOT NULL REFERENCES crm.customers (id) ON DELETE CASCADE,
  name        text NOT NULL,
  email       text,
  phone       text,
  position    text,
  is_primary  boolean NOT NULL DEFAULT false,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX contacts_customer_idx ON crm.contacts (customer_id, created_at, id);
CREATE UNIQUE INDEX contacts_one_primary_idx ON crm.contacts (customer_id) WHERE is_primary;

CREATE TABLE crm.interactions (
  id           uuid PRIMARY KEY,
  customer_id  uuid NOT NULL REFERENCES crm.customers (id) ON DELETE CASCADE,
  kind         text NOT NULL CONSTRAINT interactions_kind CHECK (kind IN ('CALL', 'EMAIL', 'MEETING', 'NOTE', 'SYSTEM')),
  subject      text NOT NULL,
  body         text,
  occurred_at  timestamptz NOT NULL,
  quotation_id uuid,
  topic        text, -- of SYSTEM ones: 'sold', 'rejected'
  created_at   timestamptz NOT NULL DEFAULT now(),
  created_by   uuid,
  CONSTRAINT interactions_system CHECK ((kind = 'SYSTEM') = (quotation_id IS NOT NULL AND topic IS NOT NULL))
);
CREATE INDEX interactions_customer_idx ON crm.interactions (customer_id, occurred_at DESC, id DESC);
CREATE UNIQUE INDEX interactions_one_per_quotation_idx ON crm.interactions (quotation_id, topic) WHERE kind = 'SYSTEM';

-- A login of role CUSTOMER is a customer that exists.
ALTER TABLE identity.users ADD CONSTRAINT users_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES crm.customers (id);

-- Events on their way out: written with the change, sent by the relay, marked when the broker has them.
CREATE TABLE crm.outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  headers      jsonb NOT NULL,
  payload      bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON crm.outbox (id) WHERE published_at IS NULL;

-- Events that took effect here: written with the effect, so that none takes effect twice.
CREATE TABLE crm.inbox (
  consumer     text NOT NULL,
  event_id     uuid NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);

-- Row-level security: the service, and the read-only login.
ALTER TABLE crm.customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.customers FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON crm.customers FOR ALL TO crm_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON crm.customers FOR SELECT TO shama_readonly USING (true);
ALTER TABLE crm.contacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.contacts FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON crm.contacts FOR ALL TO crm_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON crm.contacts FOR SELECT TO shama_readonly USING (true);
ALTER TABLE crm.interactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.interactions FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON crm.interactions FOR ALL TO crm_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON crm.interactions FOR SELECT TO shama_readonly USING (true);
ALTER TABLE crm.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON crm.outbox FOR ALL TO crm_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON crm.outbox FOR SELECT TO shama_readonly USING (true);
ALTER TABLE crm.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON crm.inbox FOR ALL TO crm_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON crm.inbox FOR SELECT TO shama_readonly USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA crm TO crm_service_role;
GRANT SELECT ON ALL TABLES IN SCHEMA crm TO shama_readonly;

-- What other services see of a customer.
GRANT CREATE ON SCHEMA crm TO shama_views;
GRANT SELECT (id, name, status, kind, email) ON crm.customers TO shama_views;
CREATE POLICY views ON crm.customers FOR SELECT TO shama_views USING (true);
CREATE VIEW crm.customer_names AS SELECT id, name, status, kind, email FROM crm.customers;
ALTER VIEW crm.customer_names OWNER TO shama_views;
REVOKE CREATE ON SCHEMA crm FROM shama_views;
GRANT SELECT ON crm.customer_names
  TO sales_service_role, inventory_service_role, crm_service_role, identity_service_role, shama_readonly;
