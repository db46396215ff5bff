-- The events of inventory as config/proto/{product,stock}.proto have them. A decimal goes into a double or a text, as the field is.
local payloads = {}

function payloads.product(product, now_ms, by_field, by)
  return {
    product_id = product.id, price = product.price, timestamp = now_ms, sku = product.sku, price_exact = product.price,
    name = product.name, category = product.category, unit = product.unit, tax_category = product.tax_category, active = product.active,
    version = product.version, [by_field] = by,
  }
end

function payloads.price_changed(product, previous, now_ms, by)
  return {
    product_id = product.id, price = product.price, timestamp = now_ms, previous_price = previous,
    price_exact = product.price, previous_price_exact = previous, sku = product.sku, version = product.version, changed_by = by,
  }
end

function payloads.low(product, on_hand, now_ms)
  return {
    product_id = product.id, sku = product.sku, timestamp = now_ms, stock_on_hand = on_hand, reorder_level = product.reorder_level,
      name = product.name,
  }
end

return payloads
