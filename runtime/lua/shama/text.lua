-- Small helpers for texts that people typed.
local text = {}

-- Both strings of one letter each; platform.fold() in the database holds the same pairs.
local ACCENTED = "áàâäãåéèêëíìîïóòôöõúùûüñçýÿÁÀÂÄÃÅÉÈÊËÍÌÎÏÓÒÔÖÕÚÙÛÜÑÇÝ"
local PLAIN = "aaaaaaeeeeiiiiooooouuuuncyyaaaaaaeeeeiiiiooooouuuuncy"

local LETTER = "[\194-\244][\128-\191]+"
local plain_of = {}
do
  local i = 0
  for letter in ACCENTED:gmatch(LETTER) do
    i = i + 1
    plain_of[letter] = PLAIN:sub(i, i)
  end
end

-- Without white space at both ends.
function text.trim(s) return (s:gsub("^%s+", ""):gsub("%s+$", "")) end

-- Lower case without accents: what searches compare.
function text.fold(s) return (s:gsub(LETTER, plain_of):lower()) end

-- text.format("at most {limit} %", { limit = 10 }); a name that is not there stays as it is.
function text.format(template, params)
  return (template:gsub("{([%w_]+)}", function(name)
    local value = params and params[name]
    if value ~= nil then return tostring(value) end
  end))
end

-- A text of a LIKE pattern in which % and _ stand for themselves.
function text.like(s) return (s:gsub("[%%_\\]", "\\%0")) end

return text
