#!/usr/bin/env bash
# From a product to a sold quotation with its PDF, by curl: the shortest way to see what Shama does.
#
#   make run                       # in one terminal
#   examples/quickstart.sh         # in another
#
# BASE_URL (default: the one in .shama/dev.json, else http://127.0.0.1:5000), SHAMA_PASSWORD (default: the demo logins'),
# PDF (a file to keep the PDF in).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
base=${BASE_URL:-}
if [ -z "$base" ] && [ -r "$here/.shama/dev.json" ]; then
  base=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["base_url"])' "$here/.shama/dev.json")
fi
base=${base:-http://127.0.0.1:5000}
password=${SHAMA_PASSWORD:-shama-demo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pdf=${PDF:-$work/quotation.pdf}
run=$(date +%s)$$

say() { printf '\n== %s\n' "$*"; }

# field NAME: reads JSON on stdin, prints one member ("items.0.unit_price" goes down).
field() {
  python3 -c '
import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value)' "$1"
}

# call WANTED_STATUS TOKEN METHOD PATH [BODY]: prints the answer's body; ends the script when the status is another.
call() {
  local wanted=$1 token=$2 method=$3 path=$4 status
  local args=(-sS -o "$work/answer" -w '%{http_code}' -X "$method" -H 'Accept-Language: es')
  [ -n "$token" ] && args+=(-H "Authorization: Bearer $token")
  [ $# -ge 5 ] && args+=(-H 'Content-Type: application/json' -d "$5")
  status=$(curl "${args[@]}" "$base$path")
  if [ "$status" != "$wanted" ]; then
    printf '%s %s: wanted %s, got %s\n' "$method" "$path" "$wanted" "$status" >&2
    cat "$work/answer" >&2
    echo >&2
    exit 1
  fi
  cat "$work/answer"
}

api() { call "$1" "$2" "$3" "/api/v1$4" "${@:5}"; }
login() { api 200 "" POST /auth/login "{\"email\":\"$1\",\"password\":\"$password\"}" | field access_token; }

# wait_for WANTED TOKEN PATH FIELD: until the field has the value; events take a moment.
wait_for() {
  local got
  for _ in $(seq 100); do
    got=$(api 200 "$2" GET "$3" | field "$4")
    [ "$got" = "$1" ] && return 0
    sleep 0.1
  done
  printf '%s of %s is %s, not %s\n' "$4" "$3" "$got" "$1" >&2
  exit 1
}

say "Who is there: $base"
call 200 "" GET /health
echo
admin=$(login admin@shama.local)
sales=$(login sales@shama.local)
customer_login=$(login customer@shama.local)

say "Two products (the catalogue is the ADMIN's), ten pieces of each"
coffee=$(api 201 "$admin" POST /products "{\"sku\":\"CAF-$run\",\"name\":\"Café molido «Montaña»\",\"unit\":\"paquete\",\"price\":\"10.00\"}" | field id)
flour=$(api 201 "$admin" POST /products "{\"sku\":\"HAR-$run\",\"name\":\"Harina de maíz\",\"unit\":\"paquete\",\"price\":\"19.99\"}" | field id)
for product in "$coffee" "$flour"; do
  api 201 "$admin" POST "/products/$product/stock-movements" '{"kind":"RECEIPT","quantity":10,"reason":"quickstart"}' | field signed_quantity
done

say "A customer, still a LEAD"
customer=$(api 201 "$sales" POST /customers "{\"kind\":\"COMPANY\",\"name\":\"Panadería Ñandú $run\",\"tax_id\":\"J-$run\"}" | field id)
api 200 "$sales" GET "/customers/$customer" | field status

say "A quotation with two lines"
quotation=$(api 201 "$sales" POST /quotations \
  "{\"customer_id\":\"$customer\",\"items\":[{\"product_id\":\"$coffee\",\"quantity\":2},{\"product_id\":\"$flour\",\"quantity\":3}]}" | field id)
api 200 "$sales" GET "/quotations/$quotation" | field total_amount

say "A draft cannot be approved: 409"
api 409 "$sales" POST "/quotations/$quotation/approve" | field detail

say "Submitted, it has a number"
api 200 "$sales" POST "/quotations/$quotation/submit" | field number

say "The price changes; approval freezes the price of its moment"
api 200 "$admin" PATCH "/products/$coffee" '{"price":"10.50"}' | field price
api 200 "$sales" POST "/quotations/$quotation/approve" | field status
api 200 "$sales" GET "/quotations/$quotation" | field items.0.unit_price_snapshot
api 409 "$sales" POST "/quotations/$quotation/approve" | field detail

say "By event: the stock is reduced, the customer is ACTIVE"
wait_for 8 "$sales" "/products/$coffee" stock_on_hand
wait_for 7 "$sales" "/products/$flour" stock_on_hand
wait_for ACTIVE "$sales" "/customers/$customer" status
echo "8 and 7 pieces left, ACTIVE"

say "The PDF, and what happened"
api 200 "$sales" GET "/quotations/$quotation/pdf" > "$pdf"
head -c 8 "$pdf"
printf ', %s bytes%s\n' "$(wc -c < "$pdf")" "${PDF:+ in $PDF}"
api 200 "$sales" GET "/quotations/$quotation/events" | python3 -c '
import json, sys
for entry in json.load(sys.stdin)["data"]: print(entry["ts"], entry["event"], "by", entry["by"], "rules", entry["rules"][:12])'

say "Who may what: SALES creates no products, a CUSTOMER sees its own quotations only, nobody gets in without a token"
api 403 "$sales" POST /products "{\"sku\":\"X-$run\",\"name\":\"x\",\"unit\":\"pieza\",\"price\":\"1.00\"}" | field code
api 404 "$customer_login" GET "/quotations/$quotation" | field code
api 401 "" GET /quotations | field code

say "Done"
