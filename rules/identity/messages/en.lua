-- What a user of identity reads. {name} is replaced by the value.
return {
  BAD_CURSOR = "The cursor is not valid: use next_cursor of the page before",
  CANNOT_LOCK_SELF_OUT = "An administrator cannot disable itself or give up its own role",
  CUSTOMER_ID_NEEDED = "A CUSTOMER user needs customer_id",
  CUSTOMER_ID_UNFIT = "Only a CUSTOMER user has customer_id",
  DUPLICATE_EMAIL = "There is already a user with this e-mail address",
  INVALID_CREDENTIALS = "E-mail address or password is not right",
  INVALID_REFRESH_TOKEN = "The session has ended: log in again",
  UNKNOWN_CUSTOMER = "There is no such customer",
  USER_NOT_FOUND = "There is no such user",
  VERSION_MISMATCH = "The user changed: its version is {version} now",
}
