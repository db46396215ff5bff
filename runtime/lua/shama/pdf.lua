-- `shama.pdf`: documents as data.
--
--   local bytes, missing = pdf.render(description)   -- described in runtime/bind/lua_pdf.h
--
-- `missing` is the number of characters that the fonts lack, shown as boxes. A description with a mistake raises with the line of the rule and
-- the place in the description. A document that goes beyond a limit, or one too many at once, raises an error table whose `kind` is
-- "limit", which a client sees as 503; where documents cannot be rendered at all (a font is gone) `kind` is "other".
local _, raw = ...

local pdf = {}

function pdf.render(description)
  local bytes, result = raw.render(description)
  if bytes then return bytes, result end
  if result == nil then error("pdf.render: the document does not fit the service's memory", 2) end
  if result.kind == "description" then error("pdf.render: " .. result.message, 2) end
  error(result, 2)
end

return pdf
