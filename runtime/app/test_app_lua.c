/* The primitive "test.app": what lua/shama/test/app.lua is made of.
 *
 * Whatever waits is an operation: it begins and ends on the loop, never inside a slice of the spec or of a rule, since both may be on the stack of
 * the same thread:
 *
 *     called ──▶ parked ──turn──▶ start ──▶ ... ──▶ finish ──turn──▶ the spec goes on */
#include "app/test_app.h"

#include "base/err.h"
#include "bind/lua_events.h"
#include "net/http_local.h"

#include <lauxlib.h>
#include <stdlib.h>

enum { EVENTS_MAX = 64, PARAMS_MAX = 32 };

typedef struct operation operation_t;

struct operation {
    uv_timer_t timer;
    sh_test_app_t *app;
    sh_task_t *task; /* NULL: nobody waits any more */
    void (*start)(operation_t *op);
    int (*push)(lua_State *L, void *op); /* results, or nil and a sentence when there is an error */
    sh_buf_t error;
    /* a request */
    sh_http_local_t *local;
    sh_buf_t bytes;  /* the request, then the answer's body */
    sh_buf_t fields; /* of the answer: name NUL value NUL ... */
    int status;
    /* events */
    sh_vm_t *vm;
    const sh_subscription_t *subscription;
    sh_nats_msg_t *messages[EVENTS_MAX];
    uint32_t count;
};

static sh_test_app_t *self(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

/* ---- operations */

static void free_operation(uv_handle_t *handle) {
    operation_t *op = handle->data;
    for (uint32_t i = 0; i < op->count; i++) sh_nats_ack(op->messages[i]);
    sh_buf_dispose(&op->error);
    sh_buf_dispose(&op->bytes);
    sh_buf_dispose(&op->fields);
    free(op);
}

static void end(operation_t *op) { uv_close((uv_handle_t *)&op->timer, free_operation); }

static void on_start(uv_timer_t *timer) {
    operation_t *op = timer->data;
    op->start(op);
}

static void on_finish(uv_timer_t *timer) {
    operation_t *op = timer->data;
    sh_task_t *task = op->task;
    op->task = NULL;
    sh_task_resume_push(task, op->push, op);
    end(op);
}

static void finish(operation_t *op) {
    if (op->task)
        uv_timer_start(&op->timer, on_finish, 0, 0);
    else
        end(op);
}

static void cancel(void *data) {
    operation_t *op = data;
    op->task = NULL;
    if (op->local) sh_http_local_abandon(op->local);
    if (op->local || uv_is_active((uv_handle_t *)&op->timer)) end(op);
}

static operation_t *operation_create(lua_State *L, void (*start)(operation_t *op), int (*push)(lua_State *L, void *op)) {
    operation_t *op = sh_calloc(1, sizeof *op);
    op->app = self(L);
    op->start = start;
    op->push = push;
    uv_timer_init(&op->app->bench->loop, &op->timer);
    op->timer.data = op;
    return op;
}

static int wait_for(lua_State *L, operation_t *op) {
    op->task = sh_task_current(L);
    uv_timer_start(&op->timer, on_start, 0, 0);
    return sh_task_park(L, cancel, op);
}

static int push_outcome(lua_State *L, void *data) {
    operation_t *op = data;
    lua_pushboolean(L, op->error.len == 0);
    lua_pushlstring(L, op->error.ptr ? op->error.ptr : "", op->error.len);
    return 2;
}

/* ---- databases */

static void database_conninfo(void *data, const char *service, sh_buf_t *out) {
    sh_test_databases_conninfo(((sh_test_app_t *)data)->databases, service, out);
}

/* The pools of what was before are closed. */
static void make_database(void *data) {
    operation_t *op = data;
    sh_test_app_t *app = op->app;
    int rc = sh_test_databases_make(app->databases, &op->error);
    uv_update_time(&app->bench->loop); /* that took its time; the pools' timers begin now */
    if (rc == SH_OK) {
        app->bench->conninfo = database_conninfo;
        app->bench->conninfo_data = app;
        if (app->service) rc = sh_workbench_use(app->bench, app->service);
        if (rc == SH_OK && app->edge) rc = sh_test_app_connect(app);
    }
    if (rc && !op->error.len) sh_buf_put_c(&op->error, sh_err_text(rc));
    finish(op);
}

static void start_database(operation_t *op) { sh_workbench_close_pools(op->app->bench, make_database, op); }

/* database() -> true, or false and why: the spec file has a database of its own from here on. */
static int app_database(lua_State *L) {
    sh_test_app_t *app = self(L);
    if (app->is_gate) return luaL_error(L, "a gate spec has no database: take the line `-- gate` out of it, or test deciders and policies only");
    if (!sh_test_databases_has(app->databases)) return wait_for(L, operation_create(L, start_database, push_outcome));
    lua_pushboolean(L, 1);
    return 1;
}

static void drop_database(void *data) {
    operation_t *op = data;
    sh_test_app_t *app = op->app;
    sh_test_databases_drop(app->databases);
    app->bench->conninfo = NULL;
    for (uint32_t i = 0; i < SH_SERVICES_MAX; i++) app->contexts[i].pool = NULL;
    int rc = app->service ? sh_workbench_use(app->bench, app->service) : SH_OK;
    if (rc) sh_buf_put_c(&op->error, sh_err_text(rc));
    finish(op);
}

static void start_leave(operation_t *op) { sh_workbench_close_pools(op->app->bench, drop_database, op); }

/* leave(): the spec file ended; its database and its frozen clock go. */
static int app_leave(lua_State *L) {
    sh_test_app_t *app = self(L);
    app->bench->clock.frozen_us = 0;
    if (!sh_test_databases_has(app->databases)) return 0;
    return wait_for(L, operation_create(L, start_leave, push_outcome));
}

/* sql(text, ...) -> rows, every value as text: as the owner of all tables. */
static int app_sql(lua_State *L) {
    const char *text = luaL_checkstring(L, 1), *values[PARAMS_MAX];
    int count = lua_gettop(L) - 1;
    PGconn *conn = sh_test_databases_owner(self(L)->databases);
    if (!conn) return luaL_error(L, "this spec file has no database of its own: ask for one by test.database()");
    luaL_argcheck(L, count <= PARAMS_MAX, PARAMS_MAX + 1, "too many parameters");
    for (int i = 0; i < count; i++) values[i] = lua_isnoneornil(L, i + 2) ? NULL : luaL_checkstring(L, i + 2);
    PGresult *result = PQexecParams(conn, text, count, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        lua_pushfstring(L, "%s", PQerrorMessage(conn));
        PQclear(result);
        return lua_error(L);
    }
    lua_createtable(L, PQntuples(result), 0); /* out of memory here ends the run: the result may leak */
    for (int row = 0; row < PQntuples(result); row++) {
        lua_createtable(L, 0, PQnfields(result));
        for (int column = 0; column < PQnfields(result); column++) {
            if (PQgetisnull(result, row, column)) continue;
            lua_pushlstring(L, PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
            lua_setfield(L, -2, PQfname(result, column));
        }
        lua_rawseti(L, -2, row + 1);
    }
    PQclear(result);
    return 1;
}

/* ---- requests */

/* open(): loads the services. */
static int app_open(lua_State *L) {
    sh_test_app_t *app = self(L);
    sh_buf_t error = {0};
    int rc = sh_test_app_load(app, &error);
    uv_update_time(&app->bench->loop);
    if (rc == SH_OK) rc = sh_test_app_connect(app);
    if (rc == SH_OK) return 0;
    lua_pushstring(L, error.len ? sh_buf_c(&error) : sh_err_text(rc));
    sh_buf_dispose(&error);
    return lua_error(L);
}

static void put_field(sh_buf_t *out, sh_str_t name, sh_str_t value) {
    sh_buf_put_str(out, name);
    sh_buf_put_byte(out, 0);
    sh_buf_put_str(out, value);
    sh_buf_put_byte(out, 0);
}

static void answered(void *data, const sh_http_response_t *response) {
    operation_t *op = data;
    op->local = NULL;
    op->status = response->status;
    if (response->content_type) put_field(&op->fields, SH_STR("Content-Type"), sh_str_of(response->content_type));
    for (uint32_t i = 0; i < response->header_count; i++) put_field(&op->fields, response->headers[i].name, response->headers[i].value);
    sh_buf_clear(&op->bytes);
    sh_buf_put_str(&op->bytes, sh_buf_str(&response->body));
    finish(op);
}

static void start_request(operation_t *op) {
    op->local = sh_http_local_start(&op->app->http, &sh_edge_handlers, op->app->edge, sh_buf_str(&op->bytes), answered, op);
}

static int push_answer(lua_State *L, void *data) {
    const operation_t *op = data;
    const char *at = op->fields.ptr, *stop = at + op->fields.len;
    lua_pushinteger(L, op->status);
    lua_newtable(L);
    for (int i = 1; at < stop; i++, at += strlen(at) + 1) {
        lua_pushstring(L, at);
        lua_rawseti(L, -2, i);
    }
    lua_pushlstring(L, op->bytes.ptr ? op->bytes.ptr : "", op->bytes.len);
    return 3;
}

/* request(bytes) -> status, { name, value, ... }, body */
static int app_request(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    operation_t *op = operation_create(L, start_request, push_answer);
    sh_buf_put(&op->bytes, bytes, len);
    return wait_for(L, op);
}

/* ---- events */

static void set_text(lua_State *L, const char *key, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

/* subscriptions() -> { { service, subject, durable }, ... } and the names of the services */
static int app_subscriptions(lua_State *L) {
    const sh_generation_t *g = self(L)->generation;
    int n = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (uint32_t i = 0; i < g->vm_count; i++) {
        const sh_manifest_t *m = sh_vm_manifest(g->vms[i]);
        lua_pushstring(L, m->name);
        lua_rawseti(L, 2, (int)i + 1);
        for (uint32_t k = 0; k < m->subscription_count; k++) {
            lua_newtable(L);
            set_text(L, "service", m->name);
            set_text(L, "subject", m->subscriptions[k].subject);
            set_text(L, "durable", m->subscriptions[k].durable);
            lua_rawseti(L, 1, ++n);
        }
    }
    return 2;
}

/* routes() -> { { service, method, path, public }, ... } */
static int app_routes(lua_State *L) {
    const sh_generation_t *g = self(L)->generation;
    int n = 0;
    lua_newtable(L);
    for (uint32_t i = 0; i < g->vm_count; i++) {
        const sh_manifest_t *m = sh_vm_manifest(g->vms[i]);
        for (uint32_t k = 0; k < m->route_count; k++) {
            lua_newtable(L);
            set_text(L, "service", m->name);
            set_text(L, "method", m->routes[k].method);
            set_text(L, "path", m->routes[k].pattern);
            lua_pushboolean(L, m->routes[k].is_public);
            lua_setfield(L, -2, "public");
            lua_rawseti(L, -2, ++n);
        }
    }
    return 1;
}

static void delivered(void *data, int status, const char *error) {
    operation_t *op = data;
    if (status) sh_buf_put_c(&op->error, error && *error ? error : sh_err_text(status));
    finish(op);
}

static void start_delivery(operation_t *op) { sh_lua_events_start(op->vm, op->subscription, op->messages, op->count, NULL, delivered, op); }

static sh_str_t field(lua_State *L, int table, const char *key) {
    sh_str_t value;
    lua_getfield(L, table, key);
    value.ptr = luaL_checklstring(L, -1, &value.len); /* the table keeps it */
    lua_pop(L, 1);
    return value;
}

/* The event on top: { subject, payload, headers = { name = value } }. */
static int take_event(lua_State *L, operation_t *op) {
    sh_nats_header_t headers[SH_NATS_HEADERS_MAX];
    uint32_t count = 0;
    int event = lua_gettop(L);
    sh_str_t subject = field(L, event, "subject"), payload = field(L, event, "payload");
    lua_getfield(L, event, "headers");
    luaL_checktype(L, -1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, event + 1) && count < SH_NATS_HEADERS_MAX; lua_pop(L, 1)) {
        sh_nats_header_t *h = &headers[count++];
        h->name.ptr = luaL_checklstring(L, -2, &h->name.len);
        h->value.ptr = luaL_checklstring(L, -1, &h->value.len);
    }
    int rc = sh_nats_msg_create(subject.ptr, headers, count, payload, 1, 0, &op->messages[op->count]);
    if (rc == SH_OK) op->count++;
    lua_settop(L, event - 1);
    return rc;
}

/* deliver(service, durable, events) -> true, or false and why: one transaction of one subscriber. */
static int app_deliver(lua_State *L) {
    sh_vm_t *vm = sh_generation_vm(self(L)->generation, luaL_checkstring(L, 1));
    const char *durable = luaL_checkstring(L, 2);
    const sh_subscription_t *subscription = NULL;
    const sh_manifest_t *m = vm ? sh_vm_manifest(vm) : NULL;
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t count = lua_objlen(L, 3);
    luaL_argcheck(L, count >= 1 && count <= EVENTS_MAX, 3, "1 to 64 events");
    for (uint32_t i = 0; m && i < m->subscription_count; i++)
        if (strcmp(m->subscriptions[i].durable, durable) == 0) subscription = &m->subscriptions[i];
    luaL_argcheck(L, subscription, 2, "no such subscription");
    operation_t *op = operation_create(L, start_delivery, push_outcome);
    op->vm = vm;
    op->subscription = subscription;
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, (int)i);
        if (take_event(L, op) == SH_OK) continue;
        end(op);
        return luaL_error(L, "event %d cannot be made a message", (int)i);
    }
    return wait_for(L, op);
}

int sh_test_app_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {
        {"database", app_database},           {"leave", app_leave},   {"sql", app_sql},         {"open", app_open}, {"request", app_request},
        {"subscriptions", app_subscriptions}, {"routes", app_routes}, {"deliver", app_deliver}, {NULL, NULL},
    };
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
