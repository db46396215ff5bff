-- Lo que lee quien usa inventory. {nombre} se sustituye por el dato.
return {
  BAD_CURSOR = "El cursor no es válido: use next_cursor de la página anterior",
  BAD_QUANTITY = "La cantidad debe ser mayor que cero (en un ADJUSTMENT, distinta de cero)",
  DUPLICATE_SKU = "Ya existe un producto con ese sku",
  NOT_ENOUGH_STOCK = "No hay existencias suficientes",
  PRICE_NEEDS_ADMIN = "Solo un administrador puede cambiar el precio",
  PRODUCT_NOT_FOUND = "El producto no existe",
  VERSION_MISMATCH = "El producto cambió: su versión es ahora {version}",
}
