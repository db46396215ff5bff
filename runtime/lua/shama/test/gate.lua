-- busted's output handler for gate specs: a line per failure, for the check process to read.
return function()
  local lua_require = _G.require -- this file's own is that of rules
  local busted = lua_require "busted"
  local handler = lua_require "busted.outputHandlers.base" ()

  local function one_line(message)
    if type(message) ~= "string" then message = message == nil and "an error without a text" or tostring(message) end
    return (message:gsub("%s+", " "))
  end

  local function show(failure)
    local trace = failure.trace or failure.element.trace or {}
    local place = (trace.short_src or "?") .. ":" .. (trace.currentline or 0)
    local message = one_line(failure.message)
    if message:sub(1, #place + 2) == place .. ": " then message = message:sub(#place + 3) end
    io.write("gate: ", place, ": the gate spec \"", failure.name, "\" failed: ", message, "\n")
    io.flush()
  end

  busted.subscribe({ "file", "start" }, function(file)
    io.write("gate file: ", tostring(file.name), "\n")
    io.flush()
    return nil, true
  end)
  busted.subscribe({ "suite", "end" }, function()
    for _, failure in ipairs(handler.failures) do show(failure) end
    for _, failure in ipairs(handler.errors) do show(failure) end
    return nil, true
  end)
  return handler
end
