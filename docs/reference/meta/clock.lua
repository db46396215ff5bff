---@meta shama.clock
-- The time, in UTC; specs can freeze it.

local clock = {}

---@return string RFC 3339
function clock.now() end

---@return integer Unix milliseconds
function clock.ms() end

---@return string a date, "2026-01-31"
function clock.today() end

---The date so many days from today.
---@param days integer
---@return string
function clock.date(days) end

return clock
