-- docs/reference/meta tells an editor of every function that a module has, and of no other.
local FOLDER = "docs/reference/meta/"
local PLAIN = {
  "clock", "config", "crypto", "cursor", "db", "decimal", "http", "json", "jwt", "log", "ordered", "password", "pdf", "refusal", "schema", "test",
  "text", "uuid",
}
local CALLED = { "decider", "machine" } -- modules that are a function

local function read(name)
  local file = assert(io.open(FOLDER .. name .. ".lua"))
  local text = file:read("*a")
  file:close()
  return text
end

local function declared(name)
  local found = {}
  for member in read(name):gmatch("\nfunction " .. name .. "%.([%w_]+)%(") do found[member] = true end
  return found
end

describe("the editor's descriptions", function()
  for _, name in ipairs(PLAIN) do
    it("of shama." .. name .. " name its functions", function()
      local module, described = require("shama." .. name), declared(name)
      assert.truthy(read(name):find("---@meta shama." .. name .. "\n", 1, true))
      for member in pairs(described) do
        assert(module[member], name .. "." .. member .. " is described but does not exist")
      end
      if type(module) == "table" then
        for member, value in pairs(module) do
          assert(type(value) ~= "function" or described[member], name .. "." .. tostring(member) .. " is not described")
        end
      end
    end)
  end

  for _, name in ipairs(CALLED) do
    it("of shama." .. name .. " are there", function()
      assert.equal("function", type(require("shama." .. name)))
      assert.truthy(read(name):find("---@meta shama." .. name .. "\n", 1, true))
    end)
  end

  it("are all Lua that loads, and leave no module out", function()
    local known = { service = true }
    for _, list in ipairs { PLAIN, CALLED } do
      for _, name in ipairs(list) do known[name] = true end
    end
    local listing = assert(io.popen("ls " .. FOLDER))
    for file in listing:lines() do
      assert(loadfile(FOLDER .. file))
      assert(known[file:match("^(.*)%.lua$")], file .. " describes no module")
    end
    listing:close()
    listing = assert(io.popen("ls runtime/lua/shama/*.lua"))
    for file in listing:lines() do
      local name = file:match("([%w_]+)%.lua$")
      assert(known[name] or name == "consumer", "shama." .. name .. " is not described") -- the host alone calls shama.consumer
    end
    listing:close()
  end)
end)
