-- Settings of the benchmark: everything on but the access log; the rest comes by the environment (start.sh).
return {
  env = "production",
  http = { access_log = false },
  log = { level = "warn" },
}
