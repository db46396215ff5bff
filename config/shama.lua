-- Every setting there is, with its default. An operator's file (config/production.lua, or the one SHAMA_CONFIG names)
-- returns a table of the same shape with what differs; the environment wins over both (the names stand behind the keys).
return {
  env = "development",                 -- SHAMA_ENV, NODE_ENV: development | production | test
  http = {
    host = "127.0.0.1",                -- HOST
    port = 5000,                       -- PORT
    admin_port = 0,                    -- ADMIN_PORT: metrics and details on 127.0.0.1; 0: none, /metrics is public
    connections = 10000,               -- per worker; above it a connection is answered 503
    header_bytes = 32768,              -- request line and headers together
    headers = 100,                     -- header fields of a request
    target_bytes = 8192,
    body_bytes = 1048576,
    pipeline = 16,                     -- requests taken from one connection at a time
    head_timeout_ms = 10000,
    body_timeout_ms = 30000,
    idle_timeout_ms = 60000,
    write_timeout_ms = 30000,
    keep_alive_requests = 100000,
    cors_origins = "",                 -- comma-separated origins, or "*"
    access_log = true,
  },
  workers = 0,                         -- WORKERS: processes; 0: as many as cores
  services = "identity,inventory,crm,sales", -- SERVICES: which of them this process runs
  drain_ms = 10000,                    -- after SIGTERM: how long requests in flight may take
  log = {
    level = "info",                    -- LOG_LEVEL: debug | info | warn | error
    file = "",                         -- LOG_FILE: empty for stderr
  },
  db = {
    url = "",                          -- DATABASE_URL[_FILE]: before host, port, name
    host = "127.0.0.1",                -- DB_HOST
    port = 5432,                       -- DB_PORT
    name = "shama_platform",           -- DB_NAME
    sslmode = "prefer",                -- DB_SSLMODE
    password = "",                     -- DB_PASSWORD[_FILE]
    server_connections = 0,            -- what a pooler grants each role in session mode; 0: not limited
    pool = 10,                         -- DB_POOL: connections of one service per worker at most
    shared_depth = 8,                  -- statements in flight on a shared connection before the next one is used
    waiting = 2000,                    -- statements and transactions that may wait for a connection
    wait_ms = 2000,
    connect_ms = 2000,
    idle_ms = 30000,
    statement_ms = 10000,
  },
  nats = {
    url = "nats://127.0.0.1:4222",     -- NATS_URL[_FILE]
    ca_file = "", cert_file = "", key_file = "", -- TLS
    stream_bytes = 1073741824,         -- SHAMA_EVENTS refuses beyond (the outbox waits)
    stream_age_s = 604800,
    max_in_flight = 512,               -- published and not yet acknowledged, per relay
  },
  events = {
    enabled = true,                    -- relay and consumers in this process
    gather_ms = 50,                    -- how long a consumer lets a batch fill, at most, while events come together: fewer transactions
    relay_ms = 25,                     -- the same for the relay: from a commit to its event's way to the broker
    batch = 64,                        -- events taken at a time by a consumer
    nak_delay_ms = "30000,60000,120000,300000", -- wait before the 2nd, 3rd ... try
    ack_wait_ms = 60000,
    poll_ms = 500,                     -- the relay looks for rows even if nobody woke it
    keep_days = 7,                     -- published outbox rows
  },
  jwt = {
    secret = "",                       -- JWT_SECRET[_FILE]: at least 32 bytes
    secret_previous = "",              -- JWT_SECRET_PREVIOUS[_FILE]: accepted while rotating
    access_ttl_s = 900,
    refresh_ttl_s = 2592000,
    leeway_s = 0,
  },
  auth = {
    user_ttl_ms = 900,                 -- how long a worker believes what the database said of a user
    user_cache = 10000,
  },
  budget = {                           -- ceilings; a manifest may ask for less
    slice_ms = 50,                     -- CPU between two waits
    task_ms = 500,                     -- CPU of a request or event
    memory_mb = 64,                    -- of a service in a worker
    statements = 200,
    rows = 100000,
    events = 1000,
    response_bytes = 16777216,
    deadline_ms = 10000,               -- wall time of a request
    event_deadline_ms = 30000,
    hard_limit_ms = 2000,              -- a worker stuck this long in one piece of work is ended by the master
  },
  reload = {
    check_ms = 20000,                  -- the throw-away check process
    prepare_ms = 20000,                -- building the new states beside the old
    drain_ms = 60000,                  -- tasks of the old generation
    keep = 10,                         -- bundles kept for `shama rollback`
    gate = true,                       -- specs marked `-- gate` must pass first
    guard_s = 30,                      -- after a swap: watch 5xx and budget kills; 0: off
    guard_requests_min = 50,
    guard_share = 5,                   -- per cent more failures than before means rollback
    directory = "",                    -- where bundles are kept over a restart; empty: only in memory
  },
  control = "",                        -- SHAMA_CONTROL: Unix socket of the master; empty: <tmp>/shama-<port>.sock
  brand = {
    primary = "#f0c800",               -- BRAND_COLOR_PRIMARY
    secondary = "#2E2725",             -- BRAND_COLOR_SECONDARY
    name = "Shama",                    -- BRAND_NAME
    address = "",                      -- BRAND_ADDRESS
  },
  pdf = { font_dir = "/usr/share/fonts/truetype/dejavu" },
  identity = { db = { user = "identity_service_role", password = "", pool = 0 } },   -- IDENTITY_DB_PASSWORD[_FILE], IDENTITY_DB_POOL; pool 0: db.pool
  inventory = { db = { user = "inventory_service_role", password = "", pool = 0 } },
  crm = { db = { user = "crm_service_role", password = "", pool = 0 } },
  sales = { db = { user = "sales_service_role", password = "", pool = 0 } },
}
