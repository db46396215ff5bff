---@meta shama.schema
-- What a body or a query may hold. Pure data.

---@class shama.Schema
---@field type string

---@class shama.schema.Options
---@field required? boolean
---@field nullable? boolean
---@field default? string|integer|boolean
---@field description? string
---@field example? any

---@class shama.schema.StringOptions: shama.schema.Options
---@field min? integer
---@field max? integer
---@field enum? string[]

---@class shama.schema.IntegerOptions: shama.schema.Options
---@field min? integer
---@field max? integer

---@class shama.schema.MoneyOptions: shama.schema.Options
---@field min? string as text: "0.01"
---@field max? string

---@class shama.schema.DecimalOptions: shama.schema.MoneyOptions
---@field scale? integer

---@class shama.schema.ArrayOptions: shama.schema.Options
---@field of shama.Schema
---@field min? integer
---@field max? integer

local schema = {}

---@param options? shama.schema.StringOptions
---@return shama.Schema
function schema.string(options) end

---@param options? shama.schema.IntegerOptions
---@return shama.Schema
function schema.integer(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.boolean(options) end

---@param options? shama.schema.MoneyOptions
---@return shama.Schema
function schema.money(options) end

---@param options? shama.schema.DecimalOptions
---@return shama.Schema
function schema.decimal(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.uuid(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.date(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.timestamp(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.email(options) end

---@param options shama.schema.ArrayOptions
---@return shama.Schema
function schema.array(options) end

---@param options? shama.schema.Options
---@return shama.Schema
function schema.any(options) end

---@param fields table<string, shama.Schema>
---@param options? shama.schema.Options
---@return shama.Schema
function schema.object(fields, options) end

---An object with `limit` and `cursor` beside the filters.
---@param filters? table<string, shama.Schema>
---@return shama.Schema
function schema.page(filters) end

return schema
