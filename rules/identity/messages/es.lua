-- Lo que lee quien usa identity. {nombre} se sustituye por el dato.
return {
  BAD_CURSOR = "El cursor no es válido: use next_cursor de la página anterior",
  CANNOT_LOCK_SELF_OUT = "Un administrador no puede deshabilitarse ni quitarse su propio rol",
  CUSTOMER_ID_NEEDED = "Un usuario CUSTOMER necesita customer_id",
  CUSTOMER_ID_UNFIT = "Solo un usuario CUSTOMER tiene customer_id",
  DUPLICATE_EMAIL = "Ya existe un usuario con ese correo",
  INVALID_CREDENTIALS = "El correo o la contraseña no son correctos",
  INVALID_REFRESH_TOKEN = "La sesión terminó: inicie sesión de nuevo",
  UNKNOWN_CUSTOMER = "El cliente no existe",
  USER_NOT_FOUND = "El usuario no existe",
  VERSION_MISMATCH = "El usuario cambió: su versión es ahora {version}",
}
