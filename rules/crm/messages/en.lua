-- What a user of crm reads. {name} is replaced by the value.
return {
  BAD_CURSOR = "The cursor is not valid: use next_cursor of the page before",
  CUSTOMER_NOT_FOUND = "There is no such customer",
  CUSTOMER_STATUS = "The customer is {status} already",
  SUBJECT_SOLD = "Quotation {number} sold for {total} {currency}",
  SUBJECT_UNDONE = "Sale {number} undone: {reason}",
  VERSION_MISMATCH = "The customer changed: its version is {version} now",
}
