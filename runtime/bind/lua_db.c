/* Single statements and transactions for Lua. The C part parks the task and returns (values) or (nil, error table); lua/shama/db.lua raises.
 *
 * A transaction is a userdata with a list of statements that were written but not sent. Every call that needs an answer sends that list and
 * its own statements in one flight: BEGIN goes with the first, COMMIT with the last.
 *
 *     open ──flight──▶ begun ──commit flight──▶ ended
 *                        └── an error, rollback(), the task's end ──▶ ended (the lease goes back, which rolls back) */
#include "bind/lua_db.h"

#include "base/err.h"
#include "base/time.h"
#include "bind/lua_context.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "bind/lua_outbox.h"
#include "bind/lua_rows.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMS_MAX = 64, STATEMENTS_MAX = 64, ANSWERS_MAX = SH_TASK_RESULTS_MAX - 2, ERROR_TEXT_MAX = 192 };

typedef struct transaction transaction_t;

struct transaction {
    sh_task_resource_t resource;
    sh_task_t *task;        /* NULL once it ended */
    uint64_t serial;
    sh_arena_t arena;       /* statements not yet sent */
    sh_pg_statement_t statements[STATEMENTS_MAX];
    uint32_t count;         /* waiting to be sent */
    uint32_t answers;       /* how many of the last of them the caller wants */
    unsigned flags;         /* of the flight that waits for its lease */
    sh_outbox_t outbox;
    sh_pg_ticket_t *ticket; /* while waiting for a lease */
    sh_pg_lease_t *lease;
    const char *begin_sql;
    bool failed, begun, one;
};

static const char transaction_key; /* registry: metatable */

/* ---- parameters */

static sh_lua_context_t *context(lua_State *L) { return sh_lua_context_of(sh_vm_of(L)); }

static void put_array_item(sh_buf_t *out, sh_str_t item) {
    sh_buf_put_byte(out, '"');
    for (size_t i = 0; i < item.len; i++) {
        if (item.ptr[i] == '"' || item.ptr[i] == '\\') sh_buf_put_byte(out, '\\');
        sh_buf_put_byte(out, item.ptr[i]);
    }
    sh_buf_put_byte(out, '"');
}

static const char *to_param(lua_State *L, int index, sh_arena_t *arena, int number);

static const char *number_param(lua_State *L, int index, sh_arena_t *arena) {
    double n = lua_tonumber(L, index);
    if (n == floor(n) && fabs(n) < 9007199254740992.0) return sh_arena_printf(arena, "%lld", (long long)n);
    return sh_arena_printf(arena, "%.17g", n);
}

static const char *text_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_str_t s;
    s.ptr = lua_tolstring(L, index, &s.len);
    if (memchr(s.ptr, 0, s.len)) luaL_error(L, "parameter $%d holds a NUL byte; pass bytes by db.bytes", number);
    return sh_arena_str(arena, s).ptr;
}

/* A list becomes an SQL array; false and json.null in it are NULL. */
static const char *array_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_buf_t out = {0};
    int n = (int)lua_objlen(L, index);
    luaL_checkstack(L, 4, "parameters");
    sh_buf_put_byte(&out, '{');
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        if (i > 1) sh_buf_put_byte(&out, ',');
        int type = lua_type(L, -1);
        if (sh_lua_json_is_null(L, -1) || (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))) {
            sh_buf_put_lit(&out, "NULL");
        } else if (type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TUSERDATA || type == LUA_TBOOLEAN || type == LUA_TTABLE) {
            if (type == LUA_TTABLE) { /* db.json in a list; a list in a list is not */
                lua_getfield(L, -1, "__json");
                bool tagged = lua_toboolean(L, -1);
                lua_pop(L, 1);
                if (!tagged) {
                    sh_buf_dispose(&out);
                    luaL_error(L, "parameter $%d: a list cannot hold a list", number);
                }
            }
            const char *text = to_param(L, lua_gettop(L), arena, number);
            put_array_item(&out, sh_str_of(text));
        } else {
            sh_buf_dispose(&out);
            luaL_error(L, "parameter $%d: a list cannot hold a %s", number, lua_typename(L, type));
        }
        lua_pop(L, 1);
    }
    sh_buf_put_byte(&out, '}');
    const char *text = sh_arena_str(arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return text;
}

static const char *tagged_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    char error[ERROR_TEXT_MAX];
    sh_buf_t out = {0};
    lua_getfield(L, index, "value");
    int rc = sh_lua_json_write(L, -1, &out, error, sizeof error);
    const char *text = rc ? NULL : sh_arena_str(arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    lua_pop(L, 1);
    if (rc) luaL_error(L, "parameter $%d: %s", number, error);
    return text;
}

static const char *bytes_param(lua_State *L, int index, sh_arena_t *arena) {
    size_t n;
    static const char hex[] = "0123456789abcdef";
    lua_getfield(L, index, "value");
    const unsigned char *bytes = (const unsigned char *)lua_tolstring(L, -1, &n);
    char *text = sh_arena_alloc(arena, 2 * n + 3);
    text[0] = '\\';
    text[1] = 'x';
    for (size_t i = 0; i < n; i++) text[2 + 2 * i] = hex[bytes[i] >> 4], text[3 + 2 * i] = hex[bytes[i] & 15];
    text[2 + 2 * n] = 0;
    lua_pop(L, 1);
    return text;
}

static bool has_tag(lua_State *L, int index, const char *tag) {
    lua_pushstring(L, tag);
    lua_rawget(L, index);
    bool found = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return found;
}

/* NULL is SQL NULL. Raises for what cannot be a parameter. */
static const char *to_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_decimal_t d;
    switch (lua_type(L, index)) {
    case LUA_TNONE: case LUA_TNIL: return NULL;
    case LUA_TBOOLEAN: return lua_toboolean(L, index) ? "t" : "f";
    case LUA_TNUMBER: return number_param(L, index, arena);
    case LUA_TSTRING: return text_param(L, index, arena, number);
    case LUA_TTABLE:
        if (has_tag(L, index, "__json")) return tagged_param(L, index, arena, number);
        if (has_tag(L, index, "__bytes")) return bytes_param(L, index, arena);
        return array_param(L, index, arena, number);
    case LUA_TLIGHTUSERDATA:
        if (sh_lua_json_is_null(L, index)) return NULL;
        break;
    case LUA_TUSERDATA:
        if (sh_lua_decimal_test(L, index, &d)) {
            char text[SH_DECIMAL_TEXT_MAX];
            size_t n = sh_decimal_format(d, text);
            return sh_arena_str(arena, sh_str(text, n)).ptr;
        }
        if (sh_vm_melt(L, index)) {
            const char *text = to_param(L, lua_gettop(L), arena, number);
            lua_pop(L, 1);
            return text;
        }
        break;
    default: break;
    }
    luaL_error(L, "parameter $%d: a %s cannot be passed to the database", number, luaL_typename(L, index));
    return NULL;
}

/* SQL at `first`, parameters behind it up to `last`. */
static void take_statement(lua_State *L, int first, int last, sh_arena_t *arena, sh_pg_statement_t *out) {
    sh_str_t sql;
    if (lua_type(L, first) != LUA_TSTRING) luaL_error(L, "a statement's SQL must be a text");
    sql.ptr = lua_tolstring(L, first, &sql.len);
    int count = last - first;
    if (count > PARAMS_MAX) luaL_error(L, "a statement takes at most %d parameters", PARAMS_MAX);
    const char **params = sh_arena_alloc(arena, (size_t)(count ? count : 1) * sizeof *params);
    for (int i = 0; i < count; i++) params[i] = to_param(L, first + 1 + i, arena, i + 1);
    *out = (sh_pg_statement_t){sh_arena_str(arena, sql), (uint32_t)count, params};
}

/* Highest $n in the text: a list { sql, a, nil } does not tell its own length. */
static int placeholders(const char *sql) {
    int highest = 0;
    for (const char *p = sql; (p = strchr(p, '$'));) {
        int n = atoi(++p);
        if (n > highest && n <= PARAMS_MAX) highest = n;
    }
    return highest;
}

/* The list { sql, ... } at `index`. */
static void take_listed(lua_State *L, int index, sh_arena_t *arena, sh_pg_statement_t *out) {
    int before = lua_gettop(L);
    bool melted = sh_vm_melt(L, index);
    if (melted) index = lua_gettop(L);
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, PARAMS_MAX + 8, "parameters");
    lua_rawgeti(L, index, 1);
    int first = lua_gettop(L);
    int count = lua_type(L, first) == LUA_TSTRING ? placeholders(lua_tostring(L, first)) : 0;
    for (int i = 0; i < count; i++) lua_rawgeti(L, index, i + 2);
    take_statement(L, first, first + count, arena, out);
    lua_settop(L, before);
}

/* ---- errors */

static const char *kind_of(const sh_pg_error_t *e) {
    static const struct {
        const char *prefix, *kind;
    } states[] = {{"23505", "unique"}, {"23503", "foreign_key"}, {"23514", "check"}, {"23502", "not_null"}, {"40001", "serialization"},
                  {"40P01", "serialization"}, {"57014", "timeout"}, {"55P03", "timeout"}};
    switch (e->code) {
    case SH_ETIMEDOUT: return "timeout";
    case SH_EUNAVAILABLE: case SH_ECANCELED: return "unavailable";
    case SH_EMAYBE: return "maybe";
    case SH_ELIMIT: return "limit";
    default: break;
    }
    for (size_t i = 0; i < SH_ARRAY_LEN(states); i++)
        if (strcmp(states[i].prefix, e->sqlstate) == 0) return states[i].kind;
    return "other";
}

static void set_text(lua_State *L, const char *key, const char *value) {
    if (!value || !*value) return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

/* Pushes nil and the error table. */
static int push_error(lua_State *L, const sh_pg_error_t *e) {
    lua_pushnil(L);
    lua_createtable(L, 0, 6);
    set_text(L, "kind", kind_of(e));
    set_text(L, "sqlstate", e->sqlstate);
    set_text(L, "message", e->message);
    set_text(L, "detail", e->detail);
    set_text(L, "constraint", e->constraint);
    set_text(L, "table", e->table);
    return 2;
}

static int push_code(lua_State *L, int code) {
    const sh_pg_error_t e = {.code = code, .message = sh_err_text(code)};
    return push_error(L, &e);
}

/* Counts statements against the task's budget; false pushes nil and the error. */
static bool spend(lua_State *L, sh_task_t *task, uint32_t statements) {
    sh_task_account_t *a = sh_task_account(task);
    a->statements += statements;
    if (a->statements <= sh_vm_budget(sh_task_vm(task))->statements_max) return true;
    lua_pushnil(L);
    lua_createtable(L, 0, 2);
    set_text(L, "kind", "budget");
    set_text(L, "message", "the task sent more statements than budget.statements allows");
    return false;
}

static bool spend_rows(lua_State *L, sh_task_t *task, const sh_pg_rows_t *rows) {
    sh_task_account_t *a = sh_task_account(task);
    a->rows += rows->row_count;
    if (a->rows <= sh_vm_budget(sh_task_vm(task))->rows_max) return true;
    lua_pushnil(L);
    lua_createtable(L, 0, 2);
    set_text(L, "kind", "budget");
    set_text(L, "message", "the task read more rows than budget.rows allows");
    return false;
}

static sh_pg_pool_t *pool_of(lua_State *L) {
    sh_pg_pool_t *pool = context(L)->pool;
    if (!pool) luaL_error(L, "there is no database here");
    return pool;
}

/* ---- single statements */

typedef struct single single_t;

/* Several statements side by side for one task. */
typedef struct batch {
    sh_task_t *task;
    uint32_t count, left;
    bool one;
    bool failed;
    int code;
    sh_arena_t arena;
    struct single {
        struct batch *batch;
        sh_pg_ticket_t *ticket; /* NULL once answered */
        sh_pg_rows_t *rows;
    } singles[];
} batch_t;

static void free_batch(batch_t *b) {
    for (uint32_t i = 0; i < b->count; i++) sh_pg_rows_release(b->singles[i].rows);
    sh_arena_dispose(&b->arena);
    free(b);
}

static void cancel_batch(void *data) {
    batch_t *b = data;
    for (uint32_t i = 0; i < b->count; i++)
        if (b->singles[i].ticket) sh_pg_ticket_cancel(b->singles[i].ticket);
    free_batch(b);
}

/* Pushes rows, or the first row of each when `one`. */
static int push_rows(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows, bool one) {
    if (one) sh_lua_rows_push_row(L, task, rows, 0);
    else sh_lua_rows_push(L, task, rows);
    return 1;
}

typedef struct batch_outcome {
    batch_t *batch;
    const sh_pg_error_t *error; /* NULL: all have rows */
} batch_outcome_t;

static int push_batch(lua_State *L, void *data) {
    const batch_outcome_t *o = data;
    batch_t *b = o->batch;
    int n = 0;
    if (o->error) return push_error(L, o->error);
    for (uint32_t i = 0; i < b->count; i++) {
        if (!spend_rows(L, b->task, b->singles[i].rows)) return n + 2;
        n += push_rows(L, b->task, b->singles[i].rows, b->one);
    }
    return n;
}

static void finish_batch(batch_t *b, const sh_pg_error_t *error) {
    batch_outcome_t outcome = {b, error};
    sh_task_t *task = b->task;
    for (uint32_t i = 0; i < b->count; i++)
        if (b->singles[i].ticket) sh_pg_ticket_cancel(b->singles[i].ticket);
    sh_task_resume_push(task, push_batch, &outcome); /* rows that went to Lua have a count of their own */
    free_batch(b);
}

static void single_done(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    single_t *s = data;
    batch_t *b = s->batch;
    s->ticket = NULL;
    b->left--;
    if (status) {
        finish_batch(b, error);
        return;
    }
    s->rows = sh_pg_rows_retain(rows);
    if (!b->left) finish_batch(b, NULL);
}

/* Sends what is in `statements`; parks, or pushes the failure. */
static int send_batch(lua_State *L, batch_t *b, const sh_pg_statement_t *statements) {
    sh_pg_pool_t *pool = context(L)->pool;
    if (!spend(L, b->task, b->count)) {
        free_batch(b);
        return 2;
    }
    b->left = b->count;
    for (uint32_t i = 0; i < b->count; i++) {
        single_t *s = &b->singles[i];
        s->batch = b;
        int rc = sh_pg_pool_query(pool, &statements[i], single_done, s, &s->ticket);
        if (rc) {
            s->ticket = NULL;
            cancel_batch(b);
            return push_code(L, rc);
        }
    }
    return sh_task_park(L, cancel_batch, b);
}

/* Memory of a batch is owned by a userdata until it is sent, so that a raise while parameters are read frees it. */
static batch_t *batch_create(sh_task_t *task, uint32_t count, bool one) {
    batch_t *b = sh_calloc(1, sizeof *b + count * sizeof b->singles[0]);
    b->task = task;
    b->count = count;
    b->one = one;
    sh_arena_init(&b->arena);
    return b;
}

/* Statements are read into an arena on a userdata: a parameter that cannot be passed raises, and nothing leaks. */
typedef struct scratch {
    sh_arena_t arena;
    sh_pg_statement_t statements[STATEMENTS_MAX];
} scratch_t;

static const char scratch_key;

/* One per state, reused: statements are copied or sent inside the call that takes them. */
static scratch_t *scratch_of(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&scratch_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    scratch_t *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    sh_arena_reset(&s->arena);
    return s;
}

static int scratch_collect(lua_State *L) {
    sh_arena_dispose(&((scratch_t *)lua_touserdata(L, 1))->arena);
    return 0;
}

static int query(lua_State *L, bool one) {
    sh_task_t *task = sh_task_current(L);
    scratch_t *s = scratch_of(L);
    pool_of(L);
    take_statement(L, 1, lua_gettop(L), &s->arena, &s->statements[0]);
    return send_batch(L, batch_create(task, 1, one), s->statements);
}

static int db_query(lua_State *L) { return query(L, false); }
static int db_one(lua_State *L) { return query(L, true); }

static int db_all(lua_State *L) {
    sh_task_t *task = sh_task_current(L);
    scratch_t *s = scratch_of(L);
    int n = lua_gettop(L);
    pool_of(L);
    if (n < 1 || n > ANSWERS_MAX) return luaL_error(L, "db.all takes between 1 and %d statements", ANSWERS_MAX);
    for (int i = 0; i < n; i++) take_listed(L, i + 1, &s->arena, &s->statements[i]);
    return send_batch(L, batch_create(task, (uint32_t)n, false), s->statements);
}

/* ---- transactions */

static void end_transaction(transaction_t *t) {
    if (t->ticket) sh_pg_ticket_cancel(t->ticket);
    if (t->lease) sh_pg_lease_return(t->lease);
    t->ticket = NULL;
    t->lease = NULL;
    t->task = NULL;
    sh_arena_dispose(&t->arena);
    sh_outbox_dispose(&t->outbox);
    sh_task_detach(&t->resource);
}

static void dispose_transaction(sh_task_resource_t *resource) { end_transaction(SH_CONTAINER_OF(resource, transaction_t, resource)); }

static int transaction_collect(lua_State *L) {
    transaction_t *t = lua_touserdata(L, 1);
    if (t->task) end_transaction(t);
    return 0;
}

static transaction_t *check_transaction(lua_State *L) {
    transaction_t *t = lua_touserdata(L, 1);
    bool ok = t && lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1);
    if (ok) {
        lua_pushlightuserdata(L, (void *)&transaction_key);
        lua_rawget(L, LUA_REGISTRYINDEX);
        ok = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!ok) luaL_error(L, "a transaction was expected: write tx:query(...), with a colon");
    if (!t->task) luaL_error(L, "a transaction was used after its end");
    if (t->task != sh_task_current(L)) luaL_error(L, "a transaction was used by another request than its own");
    if (t->failed) luaL_error(L, "the transaction failed before; it can only be rolled back");
    return t;
}

static int db_begin(lua_State *L) {
    static const char *const isolations[] = {"read committed", "repeatable read", "serializable"};
    static const char *const begins[] = {NULL, "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"};
    sh_task_t *task = sh_task_current(L);
    int isolation = luaL_checkoption(L, 1, isolations[0], (const char *const[]){"read committed", "repeatable read", "serializable", NULL});
    pool_of(L);
    transaction_t *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    sh_list_init(&t->resource.link);
    lua_pushlightuserdata(L, (void *)&transaction_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    t->task = task;
    t->begin_sql = begins[isolation];
    sh_arena_init(&t->arena);
    sh_outbox_init(&t->outbox);
    t->resource.dispose = dispose_transaction;
    sh_task_attach(task, &t->resource);
    return 1;
}

typedef struct flight_outcome {
    transaction_t *t;
    sh_task_t *task;
    sh_pg_rows_t *const *rows;
    uint32_t count;
    const sh_pg_error_t *error;
    bool committed;
} flight_outcome_t;

static int push_flight(lua_State *L, void *data) {
    const flight_outcome_t *o = data;
    int n = 0;
    if (o->error) return push_error(L, o->error);
    if (o->committed) {
        lua_pushboolean(L, 1);
        return 1;
    }
    for (uint32_t i = o->count - o->t->answers; i < o->count; i++) {
        if (!spend_rows(L, o->task, o->rows[i])) {
            o->t->failed = true;
            return n + 2;
        }
        n += push_rows(L, o->task, o->rows[i], o->t->one);
    }
    return n;
}

static void flight_done(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    transaction_t *t = data;
    flight_outcome_t outcome = {t, t->task, rows, count, status ? error : NULL, !status && (t->flags & SH_PG_COMMIT)};
    sh_lua_context_t *c = sh_lua_context_of(sh_task_vm(t->task));
    if (status) {
        t->failed = true;
    } else if (outcome.committed) {
        if (t->outbox.count && c->wake_relay) c->wake_relay(c->wake_data);
        end_transaction(t);
    } else {
        t->begun = true;
    }
    sh_task_resume_push(outcome.task, push_flight, &outcome);
}

static int send_flight(transaction_t *t) {
    unsigned flags = t->flags | (t->begun ? 0 : SH_PG_BEGIN);
    int rc = sh_pg_lease_send(t->lease, t->statements, t->count, flags, flight_done, t);
    t->count = 0;
    sh_arena_reset(&t->arena);
    return rc;
}

static int push_failure(lua_State *L, void *data) { return push_error(L, data); }

static void resume_failed(transaction_t *t, const sh_pg_error_t *error) {
    t->failed = true;
    sh_task_resume_push(t->task, push_failure, (void *)error);
}

static void leased(void *data, int status, sh_pg_lease_t *lease, const sh_pg_error_t *error) {
    transaction_t *t = data;
    t->ticket = NULL;
    if (status) {
        resume_failed(t, error);
        return;
    }
    t->lease = lease;
    if (t->begin_sql) sh_pg_lease_isolation(lease, t->begin_sql);
    int rc = send_flight(t);
    if (rc) {
        const sh_pg_error_t e = {.code = rc, .message = sh_err_text(rc)};
        resume_failed(t, &e);
    }
}

/* The task went away; its resources, this transaction among them, are disposed of right after. */
static void cancel_flight(void *data) {
    transaction_t *t = data;
    if (t->ticket) sh_pg_ticket_cancel(t->ticket);
    t->ticket = NULL;
}

/* Sends all that waits, the last `answers` statements being asked for. */
static int fly(lua_State *L, transaction_t *t, uint32_t answers, unsigned flags) {
    int rc;
    t->answers = answers;
    t->flags = flags;
    if (!spend(L, t->task, t->count)) {
        t->failed = true;
        return 2;
    }
    if (t->lease) rc = send_flight(t);
    else rc = sh_pg_pool_lease(context(L)->pool, leased, t, &t->ticket);
    if (rc) {
        t->failed = true;
        return push_code(L, rc);
    }
    return sh_task_park(L, cancel_flight, t);
}

static sh_pg_statement_t *next_statement(lua_State *L, transaction_t *t) {
    if (t->count == STATEMENTS_MAX) luaL_error(L, "at most %d statements can wait in a transaction; read something in between", STATEMENTS_MAX);
    return &t->statements[t->count];
}

static int tx_query_or_one(lua_State *L, bool one) {
    transaction_t *t = check_transaction(L);
    take_statement(L, 2, lua_gettop(L), &t->arena, next_statement(L, t));
    t->count++;
    t->one = one;
    return fly(L, t, 1, 0);
}

static int tx_query(lua_State *L) { return tx_query_or_one(L, false); }
static int tx_one(lua_State *L) { return tx_query_or_one(L, true); }

static int tx_all(lua_State *L) {
    transaction_t *t = check_transaction(L);
    int n = lua_gettop(L) - 1;
    if (n < 1 || n > ANSWERS_MAX) return luaL_error(L, "tx:all takes between 1 and %d statements", ANSWERS_MAX);
    for (int i = 0; i < n; i++) {
        take_listed(L, i + 2, &t->arena, next_statement(L, t));
        t->count++;
    }
    t->one = false;
    return fly(L, t, (uint32_t)n, 0);
}

static int tx_write(lua_State *L) {
    transaction_t *t = check_transaction(L);
    take_statement(L, 2, lua_gettop(L), &t->arena, next_statement(L, t));
    t->count++;
    return 0;
}

static int tx_emit(lua_State *L) {
    transaction_t *t = check_transaction(L);
    sh_task_account_t *a = sh_task_account(t->task);
    if (++a->events > sh_vm_budget(sh_task_vm(t->task))->events_max) return luaL_error(L, "the task emitted more events than budget.events allows");
    sh_outbox_add(L, &t->outbox, t->task, luaL_checkstring(L, 2), luaL_checkstring(L, 3), 4);
    return 0;
}

static int tx_commit(lua_State *L) {
    transaction_t *t = check_transaction(L);
    if (t->outbox.count) {
        sh_outbox_statement(&t->outbox, context(L)->service, &t->arena, next_statement(L, t));
        t->count++;
    }
    if (!t->begun && !t->count) {
        end_transaction(t);
        lua_pushboolean(L, 1);
        return 1;
    }
    return fly(L, t, 0, SH_PG_COMMIT);
}

/* Gives the lease back, which rolls back; harmless after the end. */
static int tx_rollback(lua_State *L) {
    transaction_t *t = lua_touserdata(L, 1);
    luaL_checktype(L, 1, LUA_TUSERDATA);
    if (t->task) end_transaction(t);
    return 0;
}

static int tx_is_open(lua_State *L) {
    const transaction_t *t = lua_touserdata(L, 1);
    lua_pushboolean(L, t->task != NULL);
    return 1;
}

/* methods(table): what tx:name() finds. */
static int db_methods(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushlightuserdata(L, (void *)&transaction_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "__index");
    return 0;
}

int sh_lua_db_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {
        {"query", db_query}, {"one", db_one}, {"all", db_all}, {"begin", db_begin}, {"methods", db_methods},
        {"tx_query", tx_query}, {"tx_one", tx_one}, {"tx_all", tx_all}, {"tx_write", tx_write}, {"tx_emit", tx_emit},
        {"tx_commit", tx_commit}, {"tx_rollback", tx_rollback}, {"tx_is_open", tx_is_open}, {NULL, NULL},
    };
    (void)data;
    sh_lua_rows_init(L);
    lua_pushlightuserdata(L, (void *)&scratch_key);
    scratch_t *s = lua_newuserdata(L, sizeof *s);
    sh_arena_init(&s->arena);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, scratch_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, (void *)&transaction_key);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, transaction_collect);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
