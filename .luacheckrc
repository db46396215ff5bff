-- Rules run on LuaJIT in a sandbox: what is not listed here does not exist for them.
std = "none"
max_line_length = 150
globals = {}
read_globals = {
  "assert", "error", "pcall", "xpcall", "select", "tonumber", "tostring", "type", "next", "pairs", "ipairs", "unpack",
  "rawequal", "rawget", "rawset", "setmetatable", "getmetatable", "require",
  "string", "table", "math", "bit", "_VERSION",
}
files["runtime/lua"] = { std = "luajit" }
files["runtime/lua/host"] = { std = "luajit", globals = { "require" } }
files["tests/spec"] = { std = "luajit+busted" }
files["docs/reference/meta"] = { std = "luajit", ignore = { "211", "212", "221", "241" } } -- descriptions for editors: no function has a body
files["config"] = { std = "none" }
