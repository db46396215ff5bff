#!/usr/bin/env bash
# How much deferred work is left: events not sent, and approvals whose effects inventory and crm have not applied.
set -euo pipefail
psql -X -At -v ON_ERROR_STOP=1 "$DATABASE_URL" <<'SQL'
SELECT (SELECT count(*) FROM sales.outbox WHERE published_at IS NULL)
     + (SELECT count(*) FROM inventory.outbox WHERE published_at IS NULL)
     + (SELECT count(*) FROM crm.outbox WHERE published_at IS NULL)
     + (SELECT count(*) FROM sales.outbox WHERE subject = 'quotation.approved') * 2
     - (SELECT count(*) FROM inventory.inbox WHERE consumer = 'inventory-quotation_approved')
     - (SELECT count(*) FROM crm.inbox WHERE consumer = 'crm-quotation_approved');
SQL
