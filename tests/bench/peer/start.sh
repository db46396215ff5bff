#!/usr/bin/env bash
# Starts `shama serve` for the benchmark. DB_POOL connections a worker are divided among the services: requests of the contract
# go to sales; inventory and crm apply events; identity answers user status. Besides these, each service has one session per worker
# for its relay's leader lock.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
pool=${DB_POOL:-8}
export SHAMA_ROOT=$root SHAMA_CONFIG=$here/config.lua SHAMA_CONTROL=${SHAMA_CONTROL:-/tmp/shama-bench-$PORT.sock}
export SALES_DB_POOL=$((pool - 3)) INVENTORY_DB_POOL=1 CRM_DB_POOL=1 IDENTITY_DB_POOL=1
unset PGUSER PGHOST PGPORT PGDATABASE
exec "${SHAMA_BIN:-$root/build/shama}" serve
