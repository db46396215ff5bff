-- A decider: business decisions as pure functions, one per command. No database, no clock, no random: what they know comes in as facts.
--
--   return decider "quotation" {
--     life = life,                                            -- a shama.machine, or nothing
--     create  = function(state, command, facts, policy) ... end,
--     approve = function(state, command, facts, policy) ... return { changes = {}, events = {} } end,
--   }
--   quotation.decide(state, { name = "approve", ... }, facts, policy) -> result | nil, refusal
--
-- A command that is an edge of `life` is first asked there, by state.status; the status it leads to becomes result.changes.status.
local function decide(name, life, commands, state, command, facts, policy)
  local handler = commands[command.name]
  if not handler then error(name .. " has no command \"" .. tostring(command.name) .. "\"", 3) end
  local status
  if life and life:has(command.name) then
    local refused
    status, refused = life:next(state.status, command.name)
    if not status then return nil, refused end
  end
  local result, refused = handler(state, command, facts, policy)
  if result == nil then return nil, refused end
  if status then
    result.changes = result.changes or {}
    result.changes.status = status
  end
  return result
end

return function(name)
  return function(definition)
    local life, commands = definition.life, {}
    for command, handler in pairs(definition) do
      if command ~= "life" then
        if type(handler) ~= "function" then error("decider \"" .. name .. "\": the command \"" .. tostring(command) .. "\" is no function", 2) end
        commands[command] = handler
      end
    end
    return {
      name = name,
      life = life,
      decide = function(state, command, facts, policy) return decide(name, life, commands, state, command, facts, policy) end,
    }
  end
end
