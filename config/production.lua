-- Production: what differs from config/shama.lua. In use when SHAMA_ENV=production, or by SHAMA_CONFIG=config/production.lua.
-- Secrets do not belong here: JWT_SECRET_FILE, DB_PASSWORD_FILE (or one per service), NATS_URL_FILE.
return {
  env = "production",
  http = {
    host = "0.0.0.0",
    admin_port = 9464,                 -- /metrics and the details of /health/ready on 127.0.0.1 only
    access_log = true,
  },
  log = {
    level = "info",                    -- "warn" leaves the access log out
    file = "/var/log/shama/shama.log", -- logrotate: move it, then kill -USR1 the master
  },
  db = {
    sslmode = "require",               -- "disable" where Postgres or the pooler is on this host's loopback
  },
  events = {
    keep_days = 14,                    -- published outbox rows: what a lost broker can be filled from
  },
}
