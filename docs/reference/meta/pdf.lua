---@meta shama.pdf

---The description is in runtime/bind/lua_pdf.h, an example in rules/sales/templates/quotation.lua.
---@class shama.pdf.Document
---@field created_at string RFC 3339
---@field title? string
---@field author? string
---@field subject? string
---@field language? string
---@field paper? "A4"|"letter"
---@field margins? { top?: number, right?: number, bottom?: number, left?: number }
---@field size? number points
---@field color? string
---@field running? table
---@field footer? string
---@field page_label? string "Page {page} of {pages}"
---@field watermark? string
---@field watermark_color? string
---@field blocks table[]

local pdf = {}

---Off the loop. `missing` is the number of characters that the fonts lack.
---@param description shama.pdf.Document
---@return string bytes
---@return integer missing
function pdf.render(description) end

return pdf
