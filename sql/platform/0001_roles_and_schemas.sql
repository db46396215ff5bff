-- Schemas, and who may enter them.
--
-- The roles exist before (`shama migrate roles` makes or prints them) and migrations run as shama_owner:
--   shama_owner            NOLOGIN BYPASSRLS, owns schemas, tables and functions; has CREATE on the database, is a member of shama_views
--   shama_views            NOLOGIN, owns the views through which a service sees another one's data
--   <service>_service_role LOGIN, one per service, bound by row-level security
--   shama_readonly         LOGIN, looks around, sees no password and no token
-- A table of a service is forced under row-level security with `USING (true)` per role: what keeps a service out of another's
-- tables is that it has neither a grant nor a policy there. (`USING (current_user = ...)` would say the same and make searches scan.)

CREATE SCHEMA IF NOT EXISTS platform;
CREATE SCHEMA identity;
CREATE SCHEMA inventory;
CREATE SCHEMA crm;
CREATE SCHEMA sales;

-- Views are read across services, so every role enters every schema; what it finds there is a matter of grants.
GRANT USAGE ON SCHEMA platform, identity, inventory, crm, sales
  TO sales_service_role, inventory_service_role, crm_service_role, identity_service_role, shama_views, shama_readonly;

-- Lower case without accents, for searches; immutable, so that generated columns and indexes can use it. `shama.text`'s fold() does the same in rules.
CREATE FUNCTION platform.fold(t text) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  RETURN translate(lower(t), 'áàâäãåéèêëíìîïóòôöõúùûüñçýÿÁÀÂÄÃÅÉÈÊËÍÌÎÏÓÒÔÖÕÚÙÛÜÑÇÝ',
                             'aaaaaaeeeeiiiiooooouuuuncyyaaaaaaeeeeiiiiooooouuuuncy');
