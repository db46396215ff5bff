-- What a user of inventory reads. {name} is replaced by the value.
return {
  BAD_CURSOR = "The cursor is not valid: use next_cursor of the page before",
  BAD_QUANTITY = "The quantity must be above zero (in an ADJUSTMENT, not zero)",
  DUPLICATE_SKU = "There is already a product with this sku",
  NOT_ENOUGH_STOCK = "There is not enough stock",
  PRICE_NEEDS_ADMIN = "Only an administrator can change the price",
  PRODUCT_NOT_FOUND = "There is no such product",
  VERSION_MISMATCH = "The product changed: its version is {version} now",
}
