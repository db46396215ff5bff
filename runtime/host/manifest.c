/* Compiling the table that service.lua returns into routes, subscriptions and rights; what is wrong is named by its entry. */
#include "host/manifest.h"

#include "base/err.h"
#include "host/vm_internal.h"

#include <lauxlib.h>
#include <stdlib.h>

enum { ENTRIES_MAX = 512, SCHEMA_DEPTH_MAX = 16 };

typedef struct compiler {
    lua_State *L;
    sh_vm_t *vm;
    sh_arena_t *arena;
    const char *where; /* "routes[3] POST /quotations": for messages */
    int cache;         /* stack index of { table pointer -> compiled schema } */
} compiler_t;

static const char *const known_keys[] = {
    "name", "schema_version", "needs", "reads", "publishes", "refusals", "constraints", "routes", "events", "schedules", "settings", "budget",
};
static const char *const route_keys[] = {
    "roles", "public", "authenticated", "body", "query", "status", "summary", "produces", "answer", "body_bytes", "partial", "description", "heavy",
};
static const char *const schema_keys[] = {
    "type", "nullable", "min", "max", "scale", "enum", "of", "fields", "required", "default", "description", "example",
};

static int fail(compiler_t *c, const char *fmt, const char *a, const char *b) {
    lua_pushfstring(c->L, fmt, a, b);
    return luaL_error(c->L, "rules/%s/service.lua: %s: %s", c->vm->service, c->where, lua_tostring(c->L, -1));
}

static const char *keep(compiler_t *c, const char *text) { return sh_arena_str(c->arena, sh_str_of(text)).ptr; }

/* Replaces a frozen value on top of the stack by its table. */
static void melt(lua_State *L) {
    if (sh_vm_melt(L, -1)) lua_remove(L, -2);
}

static void refuse_unknown(compiler_t *c, int table, const char *const *keys, size_t count) {
    lua_State *L = c->L;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) continue;
        const char *key = lua_tostring(L, -1);
        size_t i = 0;
        while (i < count && strcmp(keys[i], key) != 0) i++;
        if (i < count) continue;
        const char *near = sh_str_nearest(key, keys, count);
        if (near)
            fail(c, "unknown key \"%s\" (did you mean \"%s\"?)", key, near);
        else
            fail(c, "unknown key \"%s\"%s", key, "");
    }
}

/* Pushes table[key] melted; false (and nothing pushed) when it is nil. */
static bool push_field(compiler_t *c, int table, const char *key) {
    lua_pushstring(c->L, key);
    lua_rawget(c->L, table); /* no metamethods: no budget watches here */
    if (lua_isnil(c->L, -1)) {
        lua_pop(c->L, 1);
        return false;
    }
    melt(c->L);
    return true;
}

static bool bool_field(compiler_t *c, int table, const char *key) {
    if (!push_field(c, table, key)) return false;
    bool value = lua_toboolean(c->L, -1);
    lua_pop(c->L, 1);
    return value;
}

static const char *text_field(compiler_t *c, int table, const char *key, const char *fallback) {
    if (!push_field(c, table, key)) return fallback;
    if (lua_type(c->L, -1) != LUA_TSTRING) fail(c, "\"%s\" must be a text%s", key, "");
    const char *value = keep(c, lua_tostring(c->L, -1));
    lua_pop(c->L, 1);
    return value;
}

static int64_t int_field(compiler_t *c, int table, const char *key, int64_t fallback) {
    if (!push_field(c, table, key)) return fallback;
    lua_Number n = lua_tonumber(c->L, -1);
    if (lua_type(c->L, -1) != LUA_TNUMBER || n != (lua_Number)(int64_t)n) fail(c, "\"%s\" must be a whole number%s", key, "");
    lua_pop(c->L, 1);
    return (int64_t)n;
}

/* A list of texts; returns how many. */
static uint32_t texts_field(compiler_t *c, int table, const char *key, const char *const **out) {
    *out = NULL;
    if (!push_field(c, table, key)) return 0;
    if (!lua_istable(c->L, -1)) fail(c, "\"%s\" must be a list of texts%s", key, "");
    size_t n = lua_objlen(c->L, -1);
    if (n > ENTRIES_MAX) fail(c, "\"%s\" has too many entries%s", key, "");
    const char **list = sh_arena_alloc(c->arena, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(c->L, -1, (int)i + 1);
        if (lua_type(c->L, -1) != LUA_TSTRING) fail(c, "\"%s\" must be a list of texts%s", key, "");
        list[i] = keep(c, lua_tostring(c->L, -1));
        lua_pop(c->L, 1);
    }
    lua_pop(c->L, 1);
    *out = list;
    return (uint32_t)n;
}

/* A function as registry reference; pops it. */
static int take_handler(compiler_t *c, const char *what) {
    if (!lua_isfunction(c->L, -1)) {
        const char *type = lua_typename(c->L, lua_type(c->L, -1));
        fail(c, "%s must be a function, it is a %s value (is its name spelled right?)", what, type);
    }
    return luaL_ref(c->L, LUA_REGISTRYINDEX);
}

/* ---- schemas */

/* "12.50" in units of 10^-scale; whole numbers too. */
static bool to_units(lua_State *L, int scale, int64_t *out) {
    if (lua_type(L, -1) != LUA_TNUMBER && lua_type(L, -1) != LUA_TSTRING) return false;
    const char *p = lua_tostring(L, -1);
    bool negative = *p == '-';
    int64_t n = 0;
    int decimals = -1;
    for (p += negative; *p; p++) {
        if (*p == '.' && decimals < 0)
            decimals = 0;
        else if (*p >= '0' && *p <= '9' && n < INT64_MAX / 100)
            n = n * 10 + (*p - '0'), decimals += decimals >= 0;
        else
            return false;
    }
    if (decimals < 0) decimals = 0;
    if (decimals > scale) return false;
    for (; decimals < scale; decimals++) {
        if (n > INT64_MAX / 10) return false;
        n *= 10;
    }
    *out = negative ? -n : n;
    return true;
}

static sh_schema_type_t schema_type(compiler_t *c, const char *name) {
    static const char *const names[] = {
        [SH_SCHEMA_ANY] = "any",         [SH_SCHEMA_STRING] = "string", [SH_SCHEMA_INTEGER] = "integer",
        [SH_SCHEMA_BOOLEAN] = "boolean", [SH_SCHEMA_MONEY] = "money",   [SH_SCHEMA_DECIMAL] = "decimal",
        [SH_SCHEMA_UUID] = "uuid",       [SH_SCHEMA_DATE] = "date",     [SH_SCHEMA_TIMESTAMP] = "timestamp",
        [SH_SCHEMA_EMAIL] = "email",     [SH_SCHEMA_ARRAY] = "array",   [SH_SCHEMA_OBJECT] = "object",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) return (sh_schema_type_t)i;
    return (sh_schema_type_t)fail(c, "unknown schema type \"%s\"%s", name, "");
}

static const sh_json_value_t *default_value(compiler_t *c) {
    lua_State *L = c->L;
    sh_json_value_t *v = SH_ARENA_NEW(c->arena, sh_json_value_t);
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN: v->kind = lua_toboolean(L, -1) ? SH_JSON_TRUE : SH_JSON_FALSE; break;
    case LUA_TNUMBER:
        v->kind = SH_JSON_INTEGER;
        v->i64 = (int64_t)lua_tonumber(L, -1);
        v->text = sh_str_of(sh_arena_printf(c->arena, "%lld", (long long)v->i64));
        break;
    case LUA_TSTRING:
        v->kind = SH_JSON_STRING;
        v->text = sh_str_of(keep(c, lua_tostring(L, -1)));
        break;
    default: fail(c, "a default must be a text, a whole number or a boolean%s%s", "", "");
    }
    return v;
}

static const sh_schema_t *compile_schema(compiler_t *c, int depth);

static int by_field_name(const void *a, const void *b) {
    const sh_schema_field_t *x = a, *y = b;
    return strcmp(x->name.ptr, y->name.ptr);
}

static void compile_fields(compiler_t *c, sh_schema_t *s, int depth) {
    lua_State *L = c->L;
    int table = lua_gettop(L);
    uint32_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) n++;
    sh_schema_field_t *fields = sh_arena_calloc(c->arena, (n + 1) * sizeof *fields);
    n = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (lua_type(L, -2) != LUA_TSTRING) fail(c, "a field of a schema has no name%s%s", "", "");
        melt(L);
        if (!lua_istable(L, -1)) fail(c, "the field \"%s\" is no schema%s", lua_tostring(L, -2), "");
        int field = lua_gettop(L);
        fields[n].name = sh_str_of(keep(c, lua_tostring(L, -2)));
        fields[n].required = bool_field(c, field, "required");
        if (push_field(c, field, "default")) {
            fields[n].fallback = default_value(c);
            lua_pop(L, 1);
        }
        fields[n].schema = compile_schema(c, depth + 1);
        lua_pop(L, 1);
        n++;
    }
    qsort(fields, n, sizeof *fields, by_field_name);
    s->fields = fields;
    s->field_count = n;
}

/* The schema table is on top of the stack and stays there. */
static const sh_schema_t *compile_schema(compiler_t *c, int depth) {
    lua_State *L = c->L;
    int table = lua_gettop(L);
    luaL_checkstack(L, 12, "schema");
    if (!lua_istable(L, -1)) fail(c, "a schema made by shama.schema was expected%s%s", "", "");
    if (depth > SCHEMA_DEPTH_MAX) fail(c, "a schema is nested too deeply%s%s", "", "");
    lua_pushvalue(L, table);
    lua_rawget(L, c->cache);
    if (lua_islightuserdata(L, -1)) {
        const sh_schema_t *known = lua_touserdata(L, -1);
        lua_pop(L, 1);
        return known;
    }
    lua_pop(L, 1);
    refuse_unknown(c, table, schema_keys, SH_ARRAY_LEN(schema_keys));
    sh_schema_t *s = SH_ARENA_NEW(c->arena, sh_schema_t);
    s->type = schema_type(c, text_field(c, table, "type", ""));
    s->nullable = bool_field(c, table, "nullable");
    bool exact = s->type == SH_SCHEMA_MONEY || s->type == SH_SCHEMA_DECIMAL;
    s->scale = (int)int_field(c, table, "scale", 2);
    static const char *const limits[] = {"min", "max"};
    for (int i = 0; i < 2; i++) {
        if (!push_field(c, table, limits[i])) continue;
        int64_t value = 0;
        if (!to_units(L, exact ? s->scale : 0, &value))
            fail(c, "\"%s\" of a schema must be a number%s", limits[i], exact ? " written as text, like \"0.01\"" : "");
        if (i == 0)
            s->has_min = true, s->min = value;
        else
            s->has_max = true, s->max = value;
        lua_pop(L, 1);
    }
    const char *const *choices;
    uint32_t n = texts_field(c, table, "enum", &choices);
    if (n) {
        sh_str_t *list = sh_arena_alloc(c->arena, n * sizeof *list);
        for (uint32_t i = 0; i < n; i++) list[i] = sh_str_of(choices[i]);
        s->choices = list;
        s->choice_count = n;
    }
    if (s->type == SH_SCHEMA_ARRAY) {
        if (!push_field(c, table, "of")) fail(c, "an array needs `of`%s%s", "", "");
        s->items = compile_schema(c, depth + 1);
        lua_pop(L, 1);
    }
    if (s->type == SH_SCHEMA_OBJECT) {
        if (!push_field(c, table, "fields")) fail(c, "an object needs `fields`%s%s", "", "");
        compile_fields(c, s, depth);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, table);
    lua_pushlightuserdata(L, s);
    lua_rawset(L, c->cache);
    return s;
}

static const sh_schema_t *schema_field(compiler_t *c, int table, const char *key) {
    if (!push_field(c, table, key)) return NULL;
    const sh_schema_t *s = compile_schema(c, 0);
    lua_pop(c->L, 1);
    return s;
}

/* ---- routes */

static void compile_params(compiler_t *c, sh_route_t *r, const char *path) {
    static const sh_schema_t uuid = {.type = SH_SCHEMA_UUID};
    static const sh_schema_t text = {.type = SH_SCHEMA_STRING, .has_min = true, .min = 1, .has_max = true, .max = 200};
    for (const char *p = path; (p = strstr(p, "/:"));) {
        const char *end = strchr(p += 2, '/');
        size_t len = end ? (size_t)(end - p) : strlen(p);
        if (!len || r->param_count == SH_PARAMS_MAX) fail(c, "the path \"%s\" has too many or nameless parameters%s", path, "");
        sh_str_t name = sh_arena_str(c->arena, sh_str(p, len));
        bool is_id = sh_str_eq_c(name, "id") || (len > 3 && memcmp(name.ptr + len - 3, "_id", 3) == 0);
        r->params[r->param_count] = name.ptr;
        r->param_schemas[r->param_count++] = is_id ? &uuid : &text;
    }
}

static void make_operation(compiler_t *c, sh_route_t *r, const char *method, const char *path) {
    sh_buf_t b = {0};
    sh_buf_put_c(&b, c->vm->service);
    sh_buf_put_byte(&b, '.');
    for (const char *p = method; *p; p++) sh_buf_put_byte(&b, (char)(*p | 0x20));
    for (const char *p = path; *p; p++) {
        if (*p == '/' || *p == '-')
            sh_buf_put_byte(&b, '_');
        else if (*p != ':')
            sh_buf_put_byte(&b, *p);
    }
    r->operation = sh_arena_str(c->arena, sh_buf_str(&b)).ptr;
    sh_buf_dispose(&b);
}

static bool has_required(const sh_schema_t *s) {
    for (uint32_t i = 0; s && i < s->field_count; i++)
        if (s->fields[i].required) return true;
    return false;
}

static void compile_route(compiler_t *c, sh_route_t *r) {
    lua_State *L = c->L;
    int table = lua_gettop(L);
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    if (!lua_istable(L, table)) fail(c, "must be a table { method, path, function, ... }%s%s", "", "");
    lua_rawgeti(L, table, 1);
    lua_rawgeti(L, table, 2);
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) fail(c, "must begin with a method and a path%s%s", "", "");
    const char *method = keep(c, lua_tostring(L, -2)), *path = keep(c, lua_tostring(L, -1));
    lua_pop(L, 2);
    c->where = sh_arena_printf(c->arena, "%s %s %s", c->where, method, path);
    refuse_unknown(c, table, route_keys, SH_ARRAY_LEN(route_keys));
    size_t m = 0;
    while (m < SH_ARRAY_LEN(methods) && strcmp(methods[m], method) != 0) m++;
    if (m == SH_ARRAY_LEN(methods)) fail(c, "unknown method \"%s\"%s", method, "");
    if (path[0] != '/') fail(c, "the path \"%s\" must begin with /%s", path, "");
    r->method = methods[m];
    r->pattern = sh_arena_printf(c->arena, "/api/v1%s", path);
    r->label = sh_arena_printf(c->arena, "%s %s", r->method, r->pattern);
    compile_params(c, r, path);
    make_operation(c, r, method, path);
    lua_rawgeti(L, table, 3);
    r->handler = take_handler(c, "the third entry");
    const char *const *roles;
    uint32_t n = texts_field(c, table, "roles", &roles);
    if (n > SH_ROLES_MAX) fail(c, "too many roles%s%s", "", "");
    for (uint32_t i = 0; i < n; i++) r->roles[i] = roles[i];
    r->role_count = n;
    r->is_public = bool_field(c, table, "public");
    if (!n && !r->is_public && !bool_field(c, table, "authenticated"))
        fail(c, "says nobody may use it: add roles = { ... }, or authenticated = true, or public = true%s%s", "", "");
    r->body = schema_field(c, table, "body");
    r->query = schema_field(c, table, "query");
    r->answer = schema_field(c, table, "answer");
    if (r->body && r->body->type != SH_SCHEMA_OBJECT) fail(c, "`body` must be an object schema%s%s", "", "");
    if (r->query && r->query->type != SH_SCHEMA_OBJECT) fail(c, "`query` must be an object schema%s%s", "", "");
    r->partial = bool_field(c, table, "partial") || strcmp(method, "PATCH") == 0;
    r->body_optional = r->partial || !has_required(r->body);
    r->status = (int)int_field(c, table, "status", 200);
    r->body_bytes_max = (uint64_t)int_field(c, table, "body_bytes", 0);
    r->summary = text_field(c, table, "summary", "");
    r->produces = text_field(c, table, "produces", "application/json");
}

/* ---- lists of entries */

typedef void (*entry_fn)(compiler_t *c, void *entry);

static void *compile_list(compiler_t *c, int manifest, const char *key, size_t size, entry_fn fn, uint32_t *count) {
    *count = 0;
    c->where = key;
    if (!push_field(c, manifest, key)) return NULL;
    if (!lua_istable(c->L, -1)) fail(c, "must be a list%s%s", "", "");
    size_t n = lua_objlen(c->L, -1);
    if (n > ENTRIES_MAX) fail(c, "too many entries%s%s", "", "");
    char *entries = sh_arena_calloc(c->arena, (n + 1) * size);
    for (size_t i = 0; i < n; i++) {
        c->where = sh_arena_printf(c->arena, "%s[%zu]", key, i + 1);
        lua_rawgeti(c->L, -1, (int)i + 1);
        melt(c->L);
        fn(c, entries + i * size);
        lua_pop(c->L, 1);
    }
    lua_pop(c->L, 1);
    *count = (uint32_t)n;
    return entries;
}

static void compile_route_entry(compiler_t *c, void *entry) { compile_route(c, entry); }

static void compile_subscription(compiler_t *c, void *entry) {
    static const char *const keys[] = {"batch", "max_deliver", "fields", "summary"};
    sh_subscription_t *s = entry;
    int table = lua_gettop(c->L);
    if (!lua_istable(c->L, table)) fail(c, "must be a table { subject, function }%s%s", "", "");
    refuse_unknown(c, table, keys, SH_ARRAY_LEN(keys));
    lua_rawgeti(c->L, table, 1);
    if (lua_type(c->L, -1) != LUA_TSTRING) fail(c, "must begin with a subject%s%s", "", "");
    s->subject = keep(c, lua_tostring(c->L, -1));
    lua_pop(c->L, 1);
    c->where = sh_arena_printf(c->arena, "%s %s", c->where, s->subject);
    lua_rawgeti(c->L, table, 2);
    s->handler = take_handler(c, "the second entry");
    s->batch = bool_field(c, table, "batch");
    s->max_deliver = (uint32_t)int_field(c, table, "max_deliver", 5);
    s->field_count = texts_field(c, table, "fields", &s->fields);
    char *durable = sh_arena_printf(c->arena, "%s-%s", c->vm->service, s->subject);
    for (char *p = durable; *p; p++)
        if (*p == '.') *p = '_';
    s->durable = durable;
}

static uint64_t parse_interval(compiler_t *c, const char *text) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    uint64_t unit = strcmp(end, "s") == 0   ? 1000
                    : strcmp(end, "m") == 0 ? 60000
                    : strcmp(end, "h") == 0 ? 3600000
                    : strcmp(end, "d") == 0 ? 86400000
                                            : 0;
    if (!n || !unit || n > 100000) fail(c, "`every` is a number and a unit like \"30s\", \"5m\", \"1h\", \"1d\", not \"%s\"%s", text, "");
    return n * unit;
}

static void compile_schedule(compiler_t *c, void *entry) {
    static const char *const keys[] = {"name", "every", "run"};
    sh_schedule_t *s = entry;
    int table = lua_gettop(c->L);
    if (!lua_istable(c->L, table)) fail(c, "must be a table { name =, every =, run = }%s%s", "", "");
    refuse_unknown(c, table, keys, SH_ARRAY_LEN(keys));
    s->name = text_field(c, table, "name", NULL);
    if (!s->name) fail(c, "needs a name%s%s", "", "");
    s->every_ms = parse_interval(c, text_field(c, table, "every", ""));
    lua_pushliteral(c->L, "run");
    lua_rawget(c->L, table);
    s->handler = take_handler(c, "`run`");
}

static void compile_refusals(compiler_t *c, int manifest, sh_manifest_t *m) {
    lua_State *L = c->L;
    c->where = "refusals";
    if (!push_field(c, manifest, "refusals")) return;
    if (!lua_istable(L, -1)) fail(c, "must be a table of CODE = status%s%s", "", "");
    int table = lua_gettop(L);
    uint32_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) n++;
    sh_refusal_code_t *list = sh_arena_calloc(c->arena, (n + 1) * sizeof *list);
    n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TNUMBER) fail(c, "must be a table of CODE = status%s%s", "", "");
        list[n].code = keep(c, lua_tostring(L, -2));
        list[n].status = (int)lua_tointeger(L, -1);
        if (list[n].status < 400 || list[n].status > 499) fail(c, "the status of %s must be between 400 and 499%s", list[n].code, "");
        n++;
    }
    lua_pop(L, 1);
    m->refusals = list;
    m->refusal_count = n;
}

static void compile_constraints(compiler_t *c, int manifest, sh_manifest_t *m) {
    lua_State *L = c->L;
    c->where = "constraints";
    if (!push_field(c, manifest, "constraints")) return;
    if (!lua_istable(L, -1)) fail(c, "must be a table of constraint = CODE%s%s", "", "");
    int table = lua_gettop(L);
    uint32_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) n++;
    sh_constraint_t *list = sh_arena_calloc(c->arena, (n + 1) * sizeof *list);
    n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) fail(c, "must be a table of constraint = CODE%s%s", "", "");
        list[n].name = keep(c, lua_tostring(L, -2));
        list[n].code = keep(c, lua_tostring(L, -1));
        if (!sh_manifest_refusal_status(m, list[n].code)) fail(c, "\"%s\" is not among the refusals%s", list[n].code, "");
        n++;
    }
    lua_pop(L, 1);
    m->constraints = list;
    m->constraint_count = n;
}

/* The service's own limits: a ceiling of the operator's stays one. */
static void compile_budget(compiler_t *c, int manifest) {
    static const char *const keys[] = {"slice_ms", "task_ms",        "memory_mb",   "statements",       "rows",
                                       "events",   "response_bytes", "deadline_ms", "event_deadline_ms"};
    sh_budget_t *b = &c->vm->budget;
    uint64_t memory_mb = b->memory_bytes >> 20, statements = b->statements_max, rows = b->rows_max, events = b->events_max;
    uint64_t *const ceilings[] = {&b->slice_ms,           &b->task_ms,     &memory_mb,           &statements, &rows, &events,
                                  &b->response_bytes_max, &b->deadline_ms, &b->event_deadline_ms};
    c->where = "budget";
    if (!push_field(c, manifest, "budget")) return;
    if (!lua_istable(c->L, -1)) fail(c, "must be a table like { task_ms = 200 }%s%s", "", "");
    int table = lua_gettop(c->L);
    refuse_unknown(c, table, keys, SH_ARRAY_LEN(keys));
    for (size_t i = 0; i < SH_ARRAY_LEN(keys); i++) {
        int64_t wanted = int_field(c, table, keys[i], 0);
        bool is_set = push_field(c, table, keys[i]);
        if (!is_set) continue;
        lua_pop(c->L, 1);
        if (wanted < 1) fail(c, "\"%s\" must be a whole number above zero%s", keys[i], "");
        if ((uint64_t)wanted < *ceilings[i])
            *ceilings[i] = (uint64_t)wanted;
        else if ((uint64_t)wanted > *ceilings[i] && c->vm->log)
            sh_log_warn(c->vm->log, "a manifest asks for more than the operator allows", SH_LOG_C("service", c->vm->service),
                        SH_LOG_C("budget", keys[i]), SH_LOG_I64("asked", wanted), SH_LOG_I64("allowed", (int64_t)*ceilings[i]));
    }
    if (memory_mb < b->memory_bytes >> 20) b->memory_bytes = memory_mb << 20;
    b->statements_max = (uint32_t)statements;
    b->rows_max = (uint32_t)rows;
    b->events_max = (uint32_t)events;
    c->vm->collect_at = b->memory_bytes / 10 * 7;
    lua_pop(c->L, 1);
}

void sh_manifest_compile(lua_State *L, sh_vm_t *vm) {
    compiler_t compiler = {.L = L, .vm = vm, .arena = &vm->arena, .where = "manifest"}, *c = &compiler;
    luaL_checkstack(L, 40, "manifest");
    melt(L);
    int manifest = lua_gettop(L);
    lua_newtable(L);
    c->cache = lua_gettop(L);
    refuse_unknown(c, manifest, known_keys, SH_ARRAY_LEN(known_keys));
    sh_manifest_t *m = SH_ARENA_NEW(c->arena, sh_manifest_t);
    m->name = text_field(c, manifest, "name", "");
    if (strcmp(m->name, vm->service) != 0) fail(c, "`name` is \"%s\", but the folder is \"%s\"", m->name, vm->service);
    m->schema_version = (int)int_field(c, manifest, "schema_version", 0);
    m->need_count = texts_field(c, manifest, "needs", &m->needs);
    m->publish_count = texts_field(c, manifest, "publishes", &m->publishes);
    m->routes = compile_list(c, manifest, "routes", sizeof(sh_route_t), compile_route_entry, &m->route_count);
    for (uint32_t i = 0; i < m->route_count; i++) m->routes[i].index = i;
    m->subscriptions = compile_list(c, manifest, "events", sizeof(sh_subscription_t), compile_subscription, &m->subscription_count);
    m->schedules = compile_list(c, manifest, "schedules", sizeof(sh_schedule_t), compile_schedule, &m->schedule_count);
    compile_refusals(c, manifest, m);
    compile_constraints(c, manifest, m);
    compile_budget(c, manifest);
    lua_settop(L, manifest);
    vm->manifest = m;
}

int sh_manifest_refusal_status(const sh_manifest_t *m, const char *code) {
    for (uint32_t i = 0; i < m->refusal_count; i++)
        if (strcmp(m->refusals[i].code, code) == 0) return m->refusals[i].status;
    return 0;
}

const char *sh_manifest_constraint(const sh_manifest_t *m, const char *constraint) {
    for (uint32_t i = 0; i < m->constraint_count; i++)
        if (strcmp(m->constraints[i].name, constraint) == 0) return m->constraints[i].code;
    return NULL;
}

bool sh_manifest_may_publish(const sh_manifest_t *m, const char *subject) {
    for (uint32_t i = 0; i < m->publish_count; i++)
        if (strcmp(m->publishes[i], subject) == 0) return true;
    return false;
}
