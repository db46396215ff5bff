---@meta
-- Shapes of what is not required: the manifest, requests and events.

---@class shama.User
---@field id string
---@field roles table<string, boolean>
---@field customer_id string?

---@class shama.Request
---@field params table<string, string>
---@field query table checked, defaults filled
---@field body table checked; decimals are exact, JSON null is json.null
---@field user shama.User? nil on public routes
---@field id string also the correlation id of events
---@field language "es"|"en"
---@field if_match string?
---@field idempotency_key string?
---@field peer string

---@class shama.Event
---@field id string
---@field subject string
---@field payload table
---@field headers table<string, string>
---@field timestamp integer
---@field correlation_id string?
---@field deliveries integer

---@class shama.Route
---@field [1] "GET"|"POST"|"PUT"|"PATCH"|"DELETE"
---@field [2] string path; the prefix /api/v1 is added
---@field [3] fun(req: shama.Request): any
---@field roles? string[]
---@field public? boolean
---@field authenticated? boolean
---@field body? shama.Schema
---@field query? shama.Schema
---@field status? integer
---@field summary? string
---@field produces? string
---@field answer? shama.Schema

---@class shama.Subscription
---@field [1] string subject
---@field [2] fun(tx: shama.Tx, event: shama.Event|shama.Event[])
---@field batch? boolean
---@field max_deliver? integer

---@class shama.Manifest
---@field name string
---@field schema_version? integer newest migration of this service; a reload is refused when the database has another one
---@field needs? string[]
---@field reads? string[]
---@field publishes? string[]
---@field refusals? table<string, integer>
---@field constraints? table<string, string>
---@field routes? shama.Route[]
---@field events? shama.Subscription[]
---@field budget? table<string, integer> less than the operator's ceilings, by the names of `budget` in config/shama.lua
---@field schedules? { name: string, every: string, run: function }[]
