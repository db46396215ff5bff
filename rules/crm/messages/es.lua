-- Lo que lee quien usa crm. {nombre} se sustituye por el dato.
return {
  BAD_CURSOR = "El cursor no es válido: use next_cursor de la página anterior",
  CUSTOMER_NOT_FOUND = "El cliente no existe",
  CUSTOMER_STATUS = "El cliente ya está {status}",
  SUBJECT_SOLD = "Cotización {number} vendida por {total} {currency}",
  SUBJECT_UNDONE = "Venta {number} anulada: {reason}",
  VERSION_MISMATCH = "El cliente cambió: su versión es ahora {version}",
}
