-- How a quotation looks on paper: from its fields to a document description for `pdf.render`.
--
-- Pure: the same quotation, texts and brand give the same description, and so the same bytes. What an analyst changes is below:
-- the texts of each language, the columns, and the order of the blocks. Colours are named ("primary"), their values are the operator's.
--
--   template(quotation, language, brand)
--
-- `quotation` has the fields of the API, and may have `customer` (name, tax_id, email, phone, address). `language` is "es", "en", or a table
-- of texts like those below. `brand` is { name, address, tax_id, email, phone }, all but the name may be missing.

local TEXTS = {
  es = {
    language = "es", thousands = ",", decimal = ".", date = "%d/%m/%Y",
    title = "Cotización", draft_number = "Sin número", revision = "Revisión", number = "Número", date_label = "Fecha", valid_until = "Válida hasta",
    status = "Estado", sold_at = "Aprobada el", customer = "Cliente", details = "Detalles", tax_id = "Identificación fiscal",
    position = "N.º", description = "Descripción", quantity = "Cantidad", unit_price = "Precio unit.", discount = "Desc.", amount = "Importe",
    subtotal = "Subtotal", discount_total = "Descuento", tax_total = "Impuestos", total = "Total", notes = "Notas",
    cancel_reason = "Motivo de la cancelación",
    validity = "Esta cotización es válida hasta el {date}. Los importes están expresados en {currency}.",
    currency_only = "Los importes están expresados en {currency}.",
    page = "Página {page} de {pages}",
    states = { DRAFT = "Borrador", PENDING = "Pendiente de aprobación", SOLD = "Vendida", CANCELLED = "Cancelada" },
    watermarks = { DRAFT = "BORRADOR", CANCELLED = "CANCELADA", superseded = "REEMPLAZADA" },
  },
  en = {
    language = "en", thousands = ",", decimal = ".", date = "%Y-%m-%d",
    title = "Quotation", draft_number = "No number yet", revision = "Revision", number = "Number", date_label = "Date", valid_until = "Valid until",
    status = "Status", sold_at = "Approved on", customer = "Customer", details = "Details", tax_id = "Tax ID",
    position = "No.", description = "Description", quantity = "Quantity", unit_price = "Unit price", discount = "Disc.", amount = "Amount",
    subtotal = "Subtotal", discount_total = "Discount", tax_total = "Tax", total = "Total", notes = "Notes",
    cancel_reason = "Reason for the cancellation",
    validity = "This quotation is valid until {date}. Amounts are in {currency}.",
    currency_only = "Amounts are in {currency}.",
    page = "Page {page} of {pages}",
    states = { DRAFT = "Draft", PENDING = "Awaiting approval", SOLD = "Sold", CANCELLED = "Cancelled" },
    watermarks = { DRAFT = "DRAFT", CANCELLED = "CANCELLED", superseded = "SUPERSEDED" },
  },
}

local function given(value)
  return type(value) == "string" and value ~= ""
end

-- "1234567.50" -> "1,234,567.50"
local function money(amount, texts)
  local sign, whole, rest = tostring(amount):match("^(-?)(%d+)%.?(%d*)$")
  if not whole then return tostring(amount) end
  local grouped = whole:reverse():gsub("(%d%d%d)", "%1" .. texts.thousands:reverse()):reverse()
  if #whole % 3 == 0 then grouped = grouped:sub(#texts.thousands + 1) end
  return sign .. grouped .. (rest ~= "" and texts.decimal .. rest or "")
end

local function date(time, texts)
  local year, month, day = tostring(time):match("^(%d%d%d%d)%-(%d%d)%-(%d%d)")
  if not year then return tostring(time) end
  return (texts.date:gsub("%%(%a)", { Y = year, m = month, d = day }))
end

local function percent(value, texts)
  local text = tostring(value):gsub("0+$", ""):gsub("%.$", "")
  return text:gsub("%.", texts.decimal) .. " %"
end

local function is_zero(value)
  return value == nil or not tostring(value):find("[1-9]")
end

local function fill(template, params)
  return (template:gsub("{(%w+)}", params))
end

local function name_of(quotation, texts)
  if not given(quotation.number) then return texts.draft_number end
  local revision = quotation.revision
  return quotation.number .. (revision and revision > 1 and "-R" .. revision or "")
end

-- The band across the top: who sends it, what it is.
local function head(quotation, texts, brand)
  local sender = { { kind = "text", text = brand.name, size = 19, bold = true, color = "on_secondary" } }
  for _, key in ipairs { "address", "tax_id", "email", "phone" } do
    if given(brand[key]) then
      sender[#sender + 1] = { kind = "text", text = brand[key], size = 8, color = "on_secondary" }
    end
  end
  return {
    kind = "columns", bleed = true, background = "secondary", padding = 26,
    columns = {
      { weight = 3, blocks = sender },
      { weight = 2, blocks = {
        { kind = "text", text = texts.title, size = 19, bold = true, align = "right", color = "on_secondary" },
        { kind = "text", text = name_of(quotation, texts), size = 10.5, align = "right", color = "on_secondary" },
      } },
    },
  }
end

local function stripe()
  return { kind = "columns", bleed = true, background = "primary", space_after = 22, columns = { { blocks = { { kind = "spacer", height = 5 } } } } }
end

local function label(text)
  return { kind = "text", text = text, size = 8, bold = true, color = "muted", space_after = 3 }
end

local function address_lines(address)
  if type(address) ~= "table" then return given(address) and address or nil end
  local city = {}
  for _, key in ipairs { "postal_code", "city" } do
    if given(address[key]) then city[#city + 1] = address[key] end
  end
  local lines = {}
  for _, line in ipairs { given(address.street) and address.street or "", table.concat(city, " "), given(address.region) and address.region or "",
                          given(address.country) and address.country or "" } do
    if line ~= "" then lines[#lines + 1] = line end
  end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

local function customer_block(quotation, texts)
  local customer = quotation.customer or {}
  local blocks = {
    label(texts.customer),
    { kind = "text", text = customer.name or quotation.customer_name or "", size = 11, bold = true, space_after = 2 },
  }
  local function add(text)
    if given(text) then blocks[#blocks + 1] = { kind = "text", text = text } end
  end
  if given(customer.tax_id) then add(texts.tax_id .. ": " .. customer.tax_id) end
  add(address_lines(customer.address))
  add(customer.email)
  add(customer.phone)
  return blocks
end

local function details_block(quotation, texts)
  local rows = { { texts.number, name_of(quotation, texts), strong = true } }
  rows[#rows + 1] = { texts.date_label, date(quotation.submitted_at or quotation.created_at, texts) }
  if given(quotation.valid_until) then rows[#rows + 1] = { texts.valid_until, date(quotation.valid_until, texts) } end
  if given(quotation.sold_at) then rows[#rows + 1] = { texts.sold_at, date(quotation.sold_at, texts) } end
  rows[#rows + 1] = { texts.status, texts.states[quotation.status] or quotation.status }
  return { label(texts.details), { kind = "pairs", rows = rows, label_width = 78 } }
end

local function lines_table(quotation, texts)
  local has_discount = false
  for i = 1, #quotation.items do has_discount = has_discount or not is_zero(quotation.items[i].discount_percent) end
  local columns = {
    { title = texts.position, width = 30, align = "right" },
    { title = texts.description },
    { title = texts.quantity, width = 58, align = "right" },
    { title = texts.unit_price, width = 84, align = "right" },
  }
  if has_discount then columns[#columns + 1] = { title = texts.discount, width = 52, align = "right" } end
  columns[#columns + 1] = { title = texts.amount, width = 84, align = "right" }

  local rows = {}
  for i = 1, #quotation.items do
    local item = quotation.items[i]
    local row = { i, item.product_name or "", item.quantity, money(item.unit_price_snapshot or item.unit_price, texts) }
    if has_discount then row[#row + 1] = is_zero(item.discount_percent) and "" or percent(item.discount_percent, texts) end
    row[#row + 1] = money(item.line_total, texts)
    rows[i] = row
  end
  return { kind = "table", columns = columns, rows = rows, space_before = 20, space_after = 10 }
end

local function totals(quotation, texts)
  local currency = given(quotation.currency) and quotation.currency .. " " or ""
  local rows = { { texts.subtotal, money(quotation.subtotal, texts) } }
  if not is_zero(quotation.discount_total) then rows[#rows + 1] = { texts.discount_total, "-" .. money(quotation.discount_total, texts) } end
  rows[#rows + 1] = { texts.tax_total, money(quotation.tax_total, texts) }
  rows[#rows + 1] = { texts.total, currency .. money(quotation.total_amount, texts), strong = true }
  return { kind = "totals", rows = rows, space_after = 18 }
end

local function watermark(quotation, texts)
  if given(quotation.superseded_by) then return texts.watermarks.superseded end
  return texts.watermarks[quotation.status]
end

local function footer(brand)
  local parts = {}
  for _, key in ipairs { "name", "address", "tax_id" } do
    if given(brand[key]) then parts[#parts + 1] = brand[key] end
  end
  return table.concat(parts, "  ·  ")
end

local function describe(quotation, language, brand)
  local texts = type(language) == "table" and language or TEXTS[language] or TEXTS.es
  local title = texts.title .. " " .. name_of(quotation, texts)
  local customer_name = quotation.customer and quotation.customer.name or quotation.customer_name or ""
  local blocks = {
    head(quotation, texts, brand),
    stripe(),
    { kind = "columns", gap = 30, columns = {
      { weight = 3, blocks = customer_block(quotation, texts) },
      { weight = 2, blocks = details_block(quotation, texts) },
    } },
    lines_table(quotation, texts),
    totals(quotation, texts),
  }
  local function add(block) blocks[#blocks + 1] = block end
  if given(quotation.cancel_reason) then
    add { kind = "heading", text = texts.cancel_reason, size = 10 }
    add { kind = "text", text = quotation.cancel_reason, space_after = 8 }
  end
  if given(quotation.notes) then
    add { kind = "heading", text = texts.notes, size = 10 }
    add { kind = "text", text = quotation.notes, space_after = 8 }
  end
  local currency = given(quotation.currency) and quotation.currency or ""
  if currency ~= "" then
    local sentence = given(quotation.valid_until) and texts.validity or texts.currency_only
    add { kind = "text", size = 8, color = "muted", space_before = 4,
          text = fill(sentence, { date = given(quotation.valid_until) and date(quotation.valid_until, texts) or "", currency = currency }) }
  end
  return {
    title = title, author = brand.name, subject = customer_name, language = texts.language,
    created_at = quotation.updated_at or quotation.created_at,
    running = { left = title, right = customer_name },
    footer = footer(brand), page_label = texts.page,
    watermark = watermark(quotation, texts), watermark_color = "text",
    blocks = blocks,
  }
end

return setmetatable({ texts = TEXTS, describe = describe }, {
  __call = function(_, quotation, language, brand) return describe(quotation, language, brand) end,
})
