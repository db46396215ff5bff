-- The numbers of inventory.
return {
  tax_categories = { "standard", "reduced", "exempt" },
}
