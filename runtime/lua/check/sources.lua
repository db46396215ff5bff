-- What `shama check` finds by reading the rules' text, without running any of it: messages, refusals, roles, and where SQL stands.
--
-- Called with (files, services): file name -> text of everything in rules/, and the list of services. Returns a list of
-- { severity =, code =, file =, line =, message = }. What is put together by code and not written down as a table is not seen.
local files, services = ...

local find, match, sub, gsub = string.find, string.match, string.sub, string.gsub

local OF_LIBRARY = { BAD_CURSOR = true, INVALID_TRANSITION = true } -- refusals that shama.* raises; a service gives them a text only
local SQL = { "^%s*SELECT%s", "^%s*INSERT%s+INTO%s", "^%s*UPDATE%s+[%w_.]+%s", "^%s*DELETE%s+FROM%s", "^%s*WITH%s+[%w_]+%s+AS%s" }

local findings = {}
local function report(severity, code, file, line, message)
  findings[#findings + 1] = { severity = severity, code = code, file = file, line = line, message = message }
end

-- Tokens -------------------------------------------------------------------------------------------------------------------

local function count_lines(text)
  local _, n = gsub(text, "\n", "")
  return n
end

-- A list of { kind = "name" | "string" | "number" | "mark", value =, line = }.
local function tokens_of(text)
  local list, line, i, size = {}, 1, 1, #text
  local function add(kind, value, past)
    list[#list + 1] = { kind = kind, value = value, line = line }
    line, i = line + count_lines(sub(text, i, past - 1)), past
  end
  local function skip(past) line, i = line + count_lines(sub(text, i, past - 1)), past end
  local function long_end(level)
    local _, last = find(text, "]" .. level .. "]", i, true)
    return (last or size) + 1
  end
  while i <= size do
    local long = match(text, "^%[(=*)%[", i)
    local comment = match(text, "^%-%-%[(=*)%[", i)
    local quote = match(text, "^[\"']", i)
    if find(text, "^%s", i) then skip(match(text, "^%s+()", i))
    elseif comment then skip(long_end(comment))
    elseif find(text, "^%-%-", i) then skip(match(text, "^[^\n]*()", i))
    elseif long then
      local past = long_end(long)
      add("string", sub(text, i + #long + 2, past - #long - 3), past)
    elseif quote then
      local k = i + 1
      while k <= size and sub(text, k, k) ~= quote do k = k + (sub(text, k, k) == "\\" and 2 or 1) end
      add("string", (gsub(sub(text, i + 1, k - 1), "\\(.)", "%1")), k + 1)
    elseif find(text, "^[%a_]", i) then
      local name, past = match(text, "^([%w_]+)()", i)
      add("name", name, past)
    elseif find(text, "^%d", i) then
      local number, past = match(text, "^(%d[%w]*%.?%d*)()", i)
      add("number", number, past)
    else
      local mark, past = match(text, "^(%.%.%.?)()", i)
      if not mark then mark, past = match(text, "^([=~<>]=)()", i) end
      add("mark", mark or sub(text, i, i), past or i + 1)
    end
  end
  return list
end

local parsed = {}
local function tokens(file)
  if not parsed[file] then parsed[file] = tokens_of(files[file]) end
  return parsed[file]
end

local function is(token, value) return token ~= nil and token.kind ~= "string" and token.value == value end

-- Where the table that opens at `at` closes.
local function closing(list, at)
  local depth = 0
  for i = at, #list do
    if is(list[i], "{") then depth = depth + 1 end
    if is(list[i], "}") then
      depth = depth - 1
      if depth == 0 then return i end
    end
  end
  return #list
end

-- The index of the `{` of `name = {`, or nil.
local function table_named(list, name)
  for i = 1, #list - 2 do
    if is(list[i], name) and is(list[i + 1], "=") and is(list[i + 2], "{") then return i + 2 end
  end
end

-- The keys on the first level of the table that opens at `at`: key -> { line =, value = its last string, or nil when it is no text }.
local function entries(list, at)
  local found, i, last = {}, at + 1, closing(list, at)
  while i < last do
    local token, key, value_at = list[i], nil, nil
    if token.kind == "name" and is(list[i + 1], "=") then key, value_at = token, i + 2 end
    if is(token, "[") and list[i + 1].kind == "string" and is(list[i + 2], "]") and is(list[i + 3], "=") then key, value_at = list[i + 1], i + 4 end
    if key then
      local text, k = nil, value_at
      while list[k] and list[k].kind == "string" do
        text = (text or "") .. list[k].value
        k = is(list[k + 1], "..") and k + 2 or k + 1
      end
      found[key.value] = { line = key.line, value = text }
      i = value_at
    elseif is(token, "{") then
      i = closing(list, i) + 1
    else
      i = i + 1
    end
  end
  return found
end

local function sorted_keys(of)
  local keys = {}
  for key in pairs(of) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- The texts of a table: a list of tokens, or nil when it holds anything else.
local function texts(list, at)
  local found = {}
  for i = at + 1, closing(list, at) - 1 do
    if list[i].kind == "string" then found[#found + 1] = list[i]
    elseif not is(list[i], ",") then return nil end
  end
  return found
end

local function files_of(service)
  local found = {}
  for file in pairs(files) do
    if find(file, "rules/" .. service .. "/", 1, true) == 1 then found[#found + 1] = file end
  end
  table.sort(found)
  return found
end

-- SQL ----------------------------------------------------------------------------------------------------------------------

local function looks_like_sql(text)
  for _, pattern in ipairs(SQL) do
    if find(text, pattern) then return true end
  end
  return false
end

local function check_sql_places()
  for _, file in ipairs(sorted_keys(files)) do
    if not find(file, "/store%.lua$") then
      for _, token in ipairs(tokens(file)) do
        if token.kind == "string" and looks_like_sql(token.value) then
          report("error", "sql-place", file, token.line, "SQL stands outside of a store; move it to store.lua of the service and use it from there")
        end
      end
    end
  end
end

-- Other services are read through the views that `reads` lists.
local function check_foreign_tables(service, manifest)
  local store = "rules/" .. service .. "/store.lua"
  if not files[store] then return end
  local reads, is_service = {}, {}
  local at = table_named(manifest, "reads")
  for _, token in ipairs(at and texts(manifest, at) or {}) do reads[token.value] = true end
  for _, name in ipairs(services) do is_service[name] = name ~= service end
  for _, token in ipairs(tokens(store)) do
    local seen = {}
    for schema, name in string.gmatch(token.kind == "string" and token.value or "", "%f[%w_.](%l[%l%d_]*)%.(%l[%w_]*)") do
      local full = schema .. "." .. name
      if is_service[schema] and not reads[full] and not seen[full] then
        seen[full] = true
        report("error", "sql-foreign", store, token.line, full .. " belongs to another service; list it in `reads` of rules/" .. service ..
          "/service.lua if it is a view of it, else ask for one")
      end
    end
  end
end

-- Messages -----------------------------------------------------------------------------------------------------------------

local function params_of(text)
  local names = {}
  for name in string.gmatch(text, "{([%w_]+)}") do names[name] = true end
  return table.concat(sorted_keys(names), ", ")
end

local function messages_of(service, language)
  local file = "rules/" .. service .. "/messages/" .. language .. ".lua"
  if not files[file] then return {}, file end
  local list = tokens(file)
  for i = 1, #list - 1 do
    if is(list[i], "return") and is(list[i + 1], "{") then return entries(list, i + 1), file, list[i].line end
  end
  return {}, file
end

-- Every text that code of the service, or what it may share, could name: strings, and what follows a dot.
local function mentioned(service)
  local found = {}
  for _, folder in ipairs { service, "shared" } do
    for _, file in ipairs(files_of(folder)) do
      local list = tokens(file)
      for i, token in ipairs(find(file, "/messages/") and {} or list) do
        if token.kind == "string" or (token.kind == "name" and is(list[i - 1], ".")) then found[token.value] = true end
      end
    end
  end
  return found
end

local function check_messages(service, refusals, used)
  local texts_of = {}
  local file_of, top_of = {}, {}
  for _, language in ipairs { "es", "en" } do texts_of[language], file_of[language], top_of[language] = messages_of(service, language) end
  for _, pair in ipairs { { "es", "en" }, { "en", "es" } } do
    local here, there = pair[1], pair[2]
    for _, key in ipairs(sorted_keys(texts_of[here])) do
      local text, other = texts_of[here][key], texts_of[there][key]
      if not other then
        report("error", "message-missing", file_of[there], top_of[there] or 1, "no text for " .. key .. ", which " .. here .. ".lua has; add it")
      elseif here == "es" and text.value and other.value and params_of(text.value) ~= params_of(other.value) then
        report("error", "message-params", file_of.en, other.line, key .. " has {" .. params_of(other.value) .. "} here and {" ..
          params_of(text.value) .. "} in es.lua; use the same names in both")
      end
      if here == "es" and not refusals[key] and not used[key] and not OF_LIBRARY[key] then
        report("warning", "message-unused", file_of.es, text.line, "nothing uses " .. key .. "; remove it from both languages")
      end
    end
  end
  for _, code in ipairs(sorted_keys(refusals)) do
    if not texts_of.es[code] and not texts_of.en[code] then
      for _, language in ipairs { "es", "en" } do
        report("error", "message-missing", file_of[language], top_of[language] or 1, "no text for the refusal " .. code .. "; add it")
      end
    end
  end
  return texts_of.es
end

-- Refusals -----------------------------------------------------------------------------------------------------------------

-- Is the string at `i` the code of a refusal? "raised": by refusal(...) or an edge's otherwise; "entry": in a list of errors.
local function use_of(list, i)
  local before = list[i - 1]
  if is(before, "=") then
    local key = list[i - 2]
    return (is(key, "otherwise") and "raised") or (is(key, "code") and "entry") or nil
  end
  local at = i - 1
  if is(before, "(") then at = i - 2 end
  local name, dot = list[at], list[at - 1]
  if is(name, "refusal") and not is(dot, ".") then return "raised" end
  if (is(name, "new") or is(name, "raise")) and is(dot, ".") and is(list[at - 2], "refusal") then return "raised" end
end

local function check_refusals(service, manifest, refusals, used, messages)
  local manifest_file = "rules/" .. service .. "/service.lua"
  for _, code in ipairs(sorted_keys(refusals)) do
    if not used[code] then
      report("warning", "refusal-unused", manifest_file, refusals[code].line, "nothing raises " .. code .. "; remove it, or raise it")
    end
  end
  for _, file in ipairs(files_of(service)) do
    local list = tokens(file)
    for i, token in ipairs(list) do
      local use = token.kind == "string" and find(token.value, "^%u[%u%d_]+$") and use_of(list, i)
      if use and not refusals[token.value] and not OF_LIBRARY[token.value] and (use == "raised" or not messages[token.value]) then
        report("error", "refusal-unknown", file, token.line, token.value .. " is no refusal of this service; add it to `refusals` in " ..
          manifest_file .. " with its status, and a text in both languages")
      end
    end
  end
  local at = table_named(manifest, "constraints")
  local constraints = at and entries(manifest, at) or {}
  for _, name in ipairs(sorted_keys(constraints)) do
    local code = constraints[name].value
    if code and not refusals[code] then
      report("error", "refusal-unknown", manifest_file, constraints[name].line, "the constraint " .. name .. " stands for " .. code ..
        ", which `refusals` does not list; add it there")
    end
  end
end

-- Roles --------------------------------------------------------------------------------------------------------------------

-- The roles that a user can have, or nil when identity does not say.
local function known_roles()
  local file = "rules/identity/schemas.lua"
  local at = files[file] and table_named(tokens(file), "ROLES")
  local list = at and texts(tokens(file), at)
  if not list then return nil end
  local names, set = {}, {}
  for i, token in ipairs(list) do names[i], set[token.value] = token.value, true end
  return set, table.concat(names, ", ")
end

local function check_roles(service, roles, roles_text)
  for _, file in ipairs(files_of(service)) do
    local list = tokens(file)
    local function unknown(token, what)
      if roles[token.value] then return end
      report("error", "role-unknown", file, token.line, what .. " no user can have the role " .. token.value .. "; the roles are " .. roles_text)
    end
    for i, token in ipairs(list) do
      if is(token, "roles") and is(list[i + 1], ".") and list[i + 2].kind == "name" and find(list[i + 2].value, "^%u") then
        unknown(list[i + 2], "this never holds:")
      end
      if find(file, "/service%.lua$") and is(token, "roles") and is(list[i + 1], "=") then
        local at = is(list[i + 2], "{") and i + 2 or table_named(list, list[i + 2].value)
        for _, role in ipairs(at and texts(list, at) or {}) do
          if not role.told then unknown(role, "this opens no route:") end
          role.told = true -- a list that many routes share
        end
      end
    end
  end
end

-- All ----------------------------------------------------------------------------------------------------------------------

local roles, roles_text = known_roles()
check_sql_places()
for _, service in ipairs(services) do
  local file = "rules/" .. service .. "/service.lua"
  local manifest = files[file] and tokens(file) or {}
  local at = table_named(manifest, "refusals")
  local refusals, used = at and entries(manifest, at) or {}, mentioned(service)
  check_foreign_tables(service, manifest)
  check_refusals(service, manifest, refusals, used, check_messages(service, refusals, used))
  if roles then check_roles(service, roles, roles_text) end
end
return findings
