"""The order desk's everyday work through the API, for tests that need a quotation in some state."""

import uuid

from support.api import wait_until


def unique(prefix):
    return "%s-%s" % (prefix, uuid.uuid4().hex[:10].upper())


def must(answer, status):
    """The answer's JSON; any other status is an error that shows the answer."""
    if answer.status != status:
        raise AssertionError("wanted %d, got %r" % (status, answer))
    return answer.json if answer.body else None


def product_create(admin, price="10.00", **fields):
    body = {"sku": unique("E2E"), "name": "Café molido «Montaña» ñ", "unit": "paquete", "price": price}
    body.update(fields)
    return must(admin.post("/products", body), 201)


def stock_receive(client, product, quantity):
    return must(client.post("/products/%s/stock-movements" % product["id"],
                            {"kind": "RECEIPT", "quantity": quantity, "reason": "e2e"}), 201)


def customer_create(client, **fields):
    name = unique("Panadería La Espiga Ñandú")
    body = {"kind": "COMPANY", "name": name, "tax_id": unique("J"), "email": unique("compras").lower() + "@espiga.example"}
    body.update(fields)
    return must(client.post("/customers", body), 201)


def quotation_create(client, customer, lines):
    """`lines`: [(product, quantity)]."""
    items = [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]
    return must(client.post("/quotations", {"customer_id": customer["id"], "items": items}), 201)


def quotation_act(client, quotation, action, body=None, status=200):
    return must(client.post("/quotations/%s/%s" % (quotation["id"], action), body), status)


def quotation_pending(client, customer, lines):
    return quotation_act(client, quotation_create(client, customer, lines), "submit")


def on_hand(client, product):
    return must(client.get("/products/%s" % product["id"]), 200)["stock_on_hand"]


def sale_movements(client, product):
    data = must(client.get("/products/%s/stock-movements?limit=200" % product["id"]), 200)["data"]
    return [movement for movement in data if movement["kind"] == "SALE"]


def wait_on_hand(client, product, wanted, timeout_s=20):
    """The stock when it is `wanted`, or what it still is when time is up."""
    wait_until(lambda: on_hand(client, product) == wanted, timeout_s, 0.1)
    return on_hand(client, product)
