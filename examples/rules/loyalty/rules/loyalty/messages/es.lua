-- Lo que lee quien usa loyalty. {nombre} se sustituye por el dato.
return {
  CUSTOMER_NOT_FOUND = "El cliente no existe",
}
