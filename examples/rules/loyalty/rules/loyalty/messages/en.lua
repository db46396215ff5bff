-- What a user of loyalty reads. {name} is replaced by the value.
return {
  CUSTOMER_NOT_FOUND = "There is no such customer",
}
