-- Identity: users, their refresh tokens, and the view that tells every service who a user is now.

CREATE TABLE identity.users (
  id            uuid PRIMARY KEY,
  email         text NOT NULL CONSTRAINT users_email_lower CHECK (email = lower(email)),
  password_hash text NOT NULL,
  full_name     text NOT NULL,
  roles         text[] NOT NULL
    CONSTRAINT users_roles_known CHECK (roles <@ ARRAY['ADMIN', 'SALES', 'INVENTORY', 'CUSTOMER'] AND cardinality(roles) > 0),
  disabled      boolean NOT NULL DEFAULT false,
  customer_id   uuid,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  version       integer NOT NULL DEFAULT 1,
  CONSTRAINT users_email_key UNIQUE (email),
  CONSTRAINT users_customer_has_customer CHECK (NOT 'CUSTOMER' = ANY (roles) OR customer_id IS NOT NULL)
);
CREATE INDEX users_recent_idx ON identity.users (created_at DESC, id DESC);

-- A family is one login; each refresh rotates its token. A rotated token that comes again was stolen: the family ends.
CREATE TABLE identity.refresh_tokens (
  id         uuid PRIMARY KEY,
  user_id    uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
  family     uuid NOT NULL,
  token_hash text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  rotated_at timestamptz,
  revoked_at timestamptz
);
CREATE INDEX refresh_tokens_family_idx ON identity.refresh_tokens (family);
CREATE INDEX refresh_tokens_user_idx ON identity.refresh_tokens (user_id);

-- Events on their way out: written with the change, sent by the relay, marked when the broker has them.
CREATE TABLE identity.outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  headers      jsonb NOT NULL,
  payload      bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON identity.outbox (id) WHERE published_at IS NULL;

-- Events that took effect here: written with the effect, so that none takes effect twice.
CREATE TABLE identity.inbox (
  consumer     text NOT NULL,
  event_id     uuid NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);

-- Row-level security: the service, and the read-only login.
ALTER TABLE identity.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.users FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON identity.users FOR ALL TO identity_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON identity.users FOR SELECT TO shama_readonly USING (true);
ALTER TABLE identity.refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON identity.refresh_tokens FOR ALL TO identity_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON identity.refresh_tokens FOR SELECT TO shama_readonly USING (true);
ALTER TABLE identity.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON identity.outbox FOR ALL TO identity_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON identity.outbox FOR SELECT TO shama_readonly USING (true);
ALTER TABLE identity.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY service ON identity.inbox FOR ALL TO identity_service_role USING (true) WITH CHECK (true);
CREATE POLICY readonly ON identity.inbox FOR SELECT TO shama_readonly USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.users, identity.refresh_tokens, identity.outbox, identity.inbox TO identity_service_role;
GRANT SELECT (id, email, full_name, roles, disabled, customer_id, created_at, updated_at, version) ON identity.users TO shama_readonly;
GRANT SELECT (id, user_id, family, created_at, expires_at, rotated_at, revoked_at) ON identity.refresh_tokens TO shama_readonly;
GRANT SELECT ON identity.outbox, identity.inbox TO shama_readonly;

-- What every service and the gateway know of a user.
GRANT CREATE ON SCHEMA identity TO shama_views;
GRANT SELECT (id, disabled, roles, customer_id) ON identity.users TO shama_views;
CREATE POLICY views ON identity.users FOR SELECT TO shama_views USING (true);
CREATE VIEW identity.user_status AS SELECT id, disabled, roles, customer_id FROM identity.users;
ALTER VIEW identity.user_status OWNER TO shama_views;
REVOKE CREATE ON SCHEMA identity FROM shama_views;
GRANT SELECT ON identity.user_status
  TO sales_service_role, inventory_service_role, crm_service_role, identity_service_role, shama_readonly;
