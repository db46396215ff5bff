/* Single statements and transactions for Lua. The C part parks the task and returns (values) or (nil, error table); lua/shama/db.lua raises.
 *
 * A transaction is a userdata with a list of statements that were written but not sent. Every call that needs an answer sends that list and
 * its own statements in one flight: BEGIN goes with the first, COMMIT with the last.
 *
 *     open ──flight──▶ begun ──commit flight──▶ ended
 *                        └── an error, rollback(), the task's end ──▶ ended (the lease goes back, which rolls back) */
#include "bind/lua_db.h"

#include "base/err.h"
#include "bind/lua_context.h"
#include "bind/lua_outbox.h"
#include "bind/lua_params.h"
#include "bind/lua_rows.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { STATEMENTS_MAX = 64, ANSWERS_MAX = SH_TASK_RESULTS_MAX - 2 };

typedef struct transaction transaction_t;

struct transaction {
    const char *key; /* &transaction_key, as no other userdata begins */
    sh_task_resource_t resource;
    sh_task_t *task; /* NULL once it ended */
    uint64_t serial;
    sh_arena_t arena; /* statements not yet sent */
    sh_pg_statement_t statements[STATEMENTS_MAX];
    uint32_t count;   /* waiting to be sent */
    uint32_t answers; /* how many of the last of them the caller wants */
    unsigned flags;   /* of the flight that waits for its lease */
    sh_outbox_t outbox;
    sh_pg_ticket_t *ticket; /* while waiting for a lease */
    sh_pg_lease_t *lease;
    const char *begin_sql;
    bool failed, begun, one;
};

static const char transaction_key; /* registry: metatable */

static sh_lua_context_t *context(lua_State *L) { return sh_lua_context_of(sh_vm_of(L)); }

/* ---- errors */

static const char *kind_of(const sh_pg_error_t *e) {
    static const struct {
        const char *prefix, *kind;
    } states[] = {{"23505", "unique"},        {"23503", "foreign_key"},   {"23514", "check"},   {"23502", "not_null"},
                  {"40001", "serialization"}, {"40P01", "serialization"}, {"57014", "timeout"}, {"55P03", "timeout"}};
    switch (e->code) {
    case SH_ETIMEDOUT: return "timeout";
    case SH_EUNAVAILABLE:
    case SH_ECANCELED: return "unavailable";
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

/* Pushes the error of a task over its budget. */
static void push_over(lua_State *L, const char *message) {
    lua_createtable(L, 0, 2);
    set_text(L, "kind", "budget");
    set_text(L, "message", message);
}

/* Counts statements against the task's budget; false pushes nil and the error. */
static bool spend(lua_State *L, sh_task_t *task, uint32_t statements) {
    sh_task_account_t *a = sh_task_account(task);
    a->statements += statements;
    if (a->statements <= sh_vm_budget(sh_task_vm(task))->statements_max) return true;
    lua_pushnil(L);
    push_over(L, "the task sent more statements than budget.statements allows");
    return false;
}

/* For all results of a flight at once: either all are pushed or the failure alone. */
static bool spend_rows(lua_State *L, sh_task_t *task, sh_pg_rows_t *const *rows, uint32_t count) {
    sh_task_account_t *a = sh_task_account(task);
    for (uint32_t i = 0; i < count; i++) a->rows += rows[i]->row_count;
    if (a->rows <= sh_vm_budget(sh_task_vm(task))->rows_max) return true;
    lua_pushnil(L);
    push_over(L, "the task read more rows than budget.rows allows");
    return false;
}

/* Pushes row sets, or the first row of each when `one`. */
static int push_results(lua_State *L, sh_task_t *task, sh_pg_rows_t *const *rows, uint32_t count, bool one) {
    if (!spend_rows(L, task, rows, count)) return 2;
    for (uint32_t i = 0; i < count; i++) {
        if (one)
            sh_lua_rows_push_row(L, task, rows[i], 0);
        else
            sh_lua_rows_push(L, task, rows[i]);
    }
    return (int)count;
}

/* Whoever sends something must be able to wait for the answer: asked before anything is on its way. */
static sh_task_t *waiting_task(lua_State *L) {
    sh_task_t *task = sh_task_current(L);
    if (sh_task_lua(task) != L) luaL_error(L, "waiting for the database is possible in the task's own coroutine only");
    return task;
}

static sh_pg_pool_t *pool_of(lua_State *L) {
    sh_pg_pool_t *pool = context(L)->pool;
    if (!pool) luaL_error(L, "there is no database here");
    return pool;
}

/* ---- statements outside of transactions */

/* One flight on a shared connection: several statements are one round trip, and all or none. */
typedef struct asked {
    sh_task_t *task;
    sh_pg_ticket_t *ticket;
    bool one;
    sh_pg_rows_t *const *rows; /* while it is answered */
    uint32_t count;
    const sh_pg_error_t *error;
} asked_t;

static void cancel_asked(void *data) {
    asked_t *asked = data;
    sh_pg_ticket_cancel(asked->ticket);
    free(asked);
}

static int push_asked(lua_State *L, void *data) {
    const asked_t *a = data;
    return a->error ? push_error(L, a->error) : push_results(L, a->task, a->rows, a->count, a->one);
}

static void flown(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    asked_t asked = *(asked_t *)data;
    (void)status;
    free(data);
    asked.rows = rows;
    asked.count = count;
    asked.error = error;
    sh_task_resume_push(asked.task, push_asked, &asked); /* rows that went to Lua have a count of their own */
}

/* Parks, or pushes the failure. */
static int ask(lua_State *L, sh_task_t *task, const sh_pg_statement_t *statements, uint32_t count, bool one) {
    if (!spend(L, task, count)) return 2;
    asked_t *asked = sh_alloc(sizeof *asked);
    *asked = (asked_t){.task = task, .one = one};
    int rc = sh_pg_pool_flight(context(L)->pool, statements, count, flown, asked, &asked->ticket);
    if (rc) {
        free(asked);
        return push_code(L, rc);
    }
    return sh_task_park(L, cancel_asked, asked);
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
    sh_task_t *task = waiting_task(L);
    scratch_t *s = scratch_of(L);
    pool_of(L);
    sh_lua_params_statement(L, 1, lua_gettop(L), &s->arena, false, &s->statements[0]);
    return ask(L, task, s->statements, 1, one);
}

static int db_query(lua_State *L) { return query(L, false); }
static int db_one(lua_State *L) { return query(L, true); }

static int db_all(lua_State *L) {
    sh_task_t *task = waiting_task(L);
    scratch_t *s = scratch_of(L);
    int n = lua_gettop(L);
    pool_of(L);
    if (n < 1 || n > ANSWERS_MAX) return luaL_error(L, "db.all takes between 1 and %d statements", ANSWERS_MAX);
    for (int i = 0; i < n; i++) sh_lua_params_listed(L, i + 1, &s->arena, false, &s->statements[i]);
    return ask(L, task, s->statements, (uint32_t)n, false);
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

/* The transaction at 1, ended or not. */
static transaction_t *a_transaction(lua_State *L) {
    transaction_t *t = lua_touserdata(L, 1);
    bool is_one = t && lua_objlen(L, 1) == sizeof *t && t->key == &transaction_key; /* a light userdata has no length */
    if (!is_one) luaL_error(L, "a transaction was expected: write tx:query(...), with a colon");
    return t;
}

static transaction_t *check_transaction(lua_State *L) {
    transaction_t *t = a_transaction(L);
    if (!t->task) luaL_error(L, "a transaction was used after its end");
    if (t->task != waiting_task(L)) luaL_error(L, "a transaction was used by another request than its own");
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
    t->key = &transaction_key;
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
    if (o->error) return push_error(L, o->error);
    if (o->committed) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return push_results(L, o->task, o->rows + (o->count - o->t->answers), o->t->answers, o->t->one);
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
    if (t->lease)
        rc = send_flight(t);
    else
        rc = sh_pg_pool_lease(context(L)->pool, leased, t, &t->ticket);
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
    sh_lua_params_statement(L, 2, lua_gettop(L), &t->arena, true, next_statement(L, t));
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
        sh_lua_params_listed(L, i + 2, &t->arena, true, next_statement(L, t));
        t->count++;
    }
    t->one = false;
    return fly(L, t, (uint32_t)n, 0);
}

static int tx_write(lua_State *L) {
    transaction_t *t = check_transaction(L);
    sh_lua_params_statement(L, 2, lua_gettop(L), &t->arena, true, next_statement(L, t));
    t->count++;
    return 0;
}

static int tx_emit(lua_State *L) {
    transaction_t *t = check_transaction(L);
    sh_task_account_t *a = sh_task_account(t->task);
    if (++a->events > sh_vm_budget(sh_task_vm(t->task))->events_max) {
        push_over(L, "the task emitted more events than budget.events allows");
        return lua_error(L);
    }
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
    transaction_t *t = a_transaction(L);
    if (t->task && t->task != sh_task_current(L)) return luaL_error(L, "a transaction was used by another request than its own");
    if (t->task) end_transaction(t);
    return 0;
}

static int tx_is_open(lua_State *L) {
    const transaction_t *t = a_transaction(L);
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
        {"query", db_query},
        {"one", db_one},
        {"all", db_all},
        {"begin", db_begin},
        {"methods", db_methods},
        {"tx_query", tx_query},
        {"tx_one", tx_one},
        {"tx_all", tx_all},
        {"tx_write", tx_write},
        {"tx_emit", tx_emit},
        {"tx_commit", tx_commit},
        {"tx_rollback", tx_rollback},
        {"tx_is_open", tx_is_open},
        {"marks", sh_lua_params_marks},
        {NULL, NULL},
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
