-- `If-Match`: a change is made only to the version that the caller has seen, when the caller says which.
local refusal = require "shama.refusal"

local versions = {}

-- Refuses with VERSION_MISMATCH (412) unless the request has no If-Match, "*", or the version as its (strong) ETag.
function versions.check(req, version)
  local wanted = req.if_match
  if not wanted or wanted == "*" then return end
  for tag in wanted:gmatch("[^,%s]+") do
    if tag == "\"" .. version .. "\"" then return end
  end
  refusal.raise("VERSION_MISMATCH", { version = version })
end

return versions
