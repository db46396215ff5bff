/* Proves `shama.db` from a rule's side against a real Postgres: what values become, how transactions end whatever happens in them, what errors
 * look like, and that rows live as long as their request.
 * How: a service of one handler per case, run as a task; it returns a text that the case expects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "base/err.h"
#include "bind/lua_context.h"
#include "bind/lua_db.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "support/pg.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 15000 };

static sh_test_pg_t server;
static uv_loop_t loop;
static sh_log_t log_to = {.level = SH_LOG_OFF, .fd = 2};
static sh_pg_pool_t *pool;
static sh_protobuf_t *protobuf;
static sh_uuid_source_t *uuids;
static sh_lua_clock_t clock_of_all;
static sh_lua_context_t context;
static int woken;

static void wake(void *data) { (void)data, woken++; }

/* ---- a vm with one handler */

static sh_vm_t *vm_with(const char *body, sh_budget_t budget) {
    static char source[16384];
    sh_buf_t error = {0};
    sh_bundle_t *bundle;
    sh_vm_t *vm;
    int more;
    static const sh_primitive_t primitives[] = {{.name = "db", .open = sh_lua_db_open},
                                                {.name = "json", .open = sh_lua_json_open, .pure = true},
                                                {.name = "decimal", .open = sh_lua_decimal_open, .pure = true}};
    snprintf(source, sizeof source,
             "local db, json, decimal = require 'shama.db', require 'shama.json', require 'shama.decimal'\n"
             "local kept\n"
             "local function run() %s end\n"
             "return { name = 'demo', needs = { 'db' }, publishes = { 'quotation.approved' }, refusals = {},\n"
             "  routes = { { 'GET', '/x', run, public = true } } }",
             body);
    const sh_bundle_source_t sources[] = {
        {.prefix = "lua/host/", .folder = SHAMA_SOURCE_DIR "/runtime/lua/host", .suffix = ".lua"},
        {.prefix = "lua/shama/", .folder = SHAMA_SOURCE_DIR "/runtime/lua/shama", .suffix = ".lua"},
        {.prefix = "rules/demo/service.lua", .bytes = sh_str_of(source)},
    };
    if (sh_bundle_build(sources, SH_ARRAY_LEN(sources), &bundle, &error)) fail_msg("%s", sh_buf_c(&error));
    context = (sh_lua_context_t){.service = "demo", .pool = pool, .protobuf = protobuf, .uuids = uuids, .clock = &clock_of_all, .wake_relay = wake};
    const sh_vm_opts_t opts = {.service = "demo",
                               .bundle = bundle,
                               .primitives = primitives,
                               .primitive_count = 3,
                               .budget = budget,
                               .loop = &loop,
                               .log = &log_to,
                               .user = &context};
    if (sh_vm_create(&opts, &vm, &error)) fail_msg("%s", sh_buf_c(&error));
    sh_bundle_release(bundle);
    while ((more = sh_vm_load_step(vm, &error)) > 0) continue;
    if (more) fail_msg("%s", sh_buf_c(&error));
    sh_buf_dispose(&error);
    return vm;
}

static const sh_budget_t roomy = {
    .slice_ms = 500, .task_ms = 2000, .memory_bytes = 32 << 20, .statements_max = 200, .rows_max = 10000, .events_max = 10};

typedef struct outcome {
    int calls, status;
    char text[1024];
} outcome_t;

/* The handler's text; a table raised by db becomes "kind sqlstate constraint". */
static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    outcome_t *o = data;
    (void)task;
    o->calls++;
    o->status = status;
    o->text[0] = 0;
    if (!nresults) return;
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_getfield(L, -1, "kind");
        lua_getfield(L, -2, "sqlstate");
        lua_getfield(L, -3, "constraint");
        snprintf(o->text, sizeof o->text, "%s %s %s", lua_tostring(L, -3), lua_isstring(L, -2) ? lua_tostring(L, -2) : "-",
                 lua_isstring(L, -1) ? lua_tostring(L, -1) : "-");
    } else if (lua_isstring(L, -1)) {
        snprintf(o->text, sizeof o->text, "%s", lua_tostring(L, -1));
    }
}

static int push_handler(lua_State *L, void *data) {
    (void)data;
    lua_rawgeti(L, LUA_REGISTRYINDEX, sh_vm_manifest(sh_vm_of(L))->routes[0].handler);
    return 0;
}

static void on_patience(uv_timer_t *timer) { *(bool *)timer->data = true; }

static void run_until(const int *count, int want, uint64_t patience_ms) {
    uv_timer_t timer;
    bool is_over = false;
    uv_timer_init(&loop, &timer);
    timer.data = &is_over;
    uv_timer_start(&timer, on_patience, patience_ms, 0);
    while (*count < want && !is_over) uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static outcome_t run_in(sh_vm_t *vm) {
    static const sh_task_opts_t opts = {.name = "GET /x", .request_id = {"request-7", 9}};
    outcome_t o = {0};
    sh_task_start(vm, &opts, push_handler, on_done, &o);
    run_until(&o.calls, 1, PATIENCE_MS);
    assert_int_equal(o.calls, 1);
    assert_int_equal(sh_vm_tasks(vm), 0);
    return o;
}

static outcome_t run(const char *body) {
    sh_vm_t *vm = vm_with(body, roomy);
    outcome_t o = run_in(vm);
    sh_vm_destroy(vm);
    sh_pg_pool_stats_t stats; /* whatever happened, no connection is held */
    int never = 0;
    for (int i = 0; i < 100; i++) {
        sh_pg_pool_stats(pool, &stats);
        if (!stats.leased) break;
        run_until(&never, 1, 20);
    }
    assert_int_equal(stats.leased, 0);
    return o;
}

static void gives(const char *body, const char *text) {
    outcome_t o = run(body);
    if (o.status || strcmp(o.text, text) != 0) fail_msg("%s\n  gave (%d) %s\n  not      %s", body, o.status, o.text, text);
}

static void raises(const char *body, const char *part) {
    outcome_t o = run(body);
    if (o.status != SH_ELUA || !strstr(o.text, part)) fail_msg("%s\n  gave (%d) %s\n  not raise %s", body, o.status, o.text, part);
}

static int setup(void **state) {
    sh_buf_t descriptors = {0}, problem = {0};
    char error[256];
    (void)state;
    if (uv_loop_init(&loop) || sh_test_pg_start(&server)) return -1;
    if (!sh_test_pg_run(
            &server,
            "CREATE SCHEMA demo; CREATE TABLE demo.t (id int PRIMARY KEY, name text NOT NULL DEFAULT '', parent int CONSTRAINT t_parent "
            "REFERENCES demo.t DEFERRABLE INITIALLY DEFERRED, n int CONSTRAINT t_small CHECK (n < 1000));"
            "CREATE TABLE demo.outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL UNIQUE, subject text NOT NULL, "
            "aggregate text NOT NULL, headers jsonb NOT NULL, payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), "
            "published_at timestamptz); SELECT 'ok'"))
        return -1;
    if (sh_proto_compile(SHAMA_SOURCE_DIR "/config/proto", &descriptors, &problem) ||
        sh_protobuf_create(sh_buf_str(&descriptors), &protobuf, error, sizeof error))
        return -1;
    sh_buf_dispose(&descriptors);
    sh_buf_dispose(&problem);
    uuids = sh_uuid_source_create();
    const sh_pg_opts_t opts = {.conninfo = server.conninfo, .name = "demo", .connections_max = 3, .statement_ms_max = 5000};
    return sh_pg_pool_create(&loop, &opts, &log_to, &pool);
}

static void on_closed(void *data) { ++*(int *)data; }

static int teardown(void **state) {
    int closed = 0;
    (void)state;
    sh_pg_pool_close(pool, 1000, on_closed, &closed);
    run_until(&closed, 1, PATIENCE_MS);
    uv_run(&loop, UV_RUN_DEFAULT);
    sh_uuid_source_destroy(uuids);
    sh_protobuf_destroy(protobuf);
    sh_test_pg_stop(&server);
    return uv_loop_close(&loop);
}

static int clean(void **state) {
    (void)state;
    woken = 0;
    return sh_test_pg_run(&server, "DELETE FROM demo.t; DELETE FROM demo.outbox; SELECT 'ok'") ? 0 : -1;
}

/* ---- tests */

static void values_have_their_lua_types(void **state) {
    (void)state;
    gives(
        "local r = db.one('SELECT 1 AS i, 9007199254740991::bigint AS b, 9007199254740993::bigint AS big, 12.50 AS money, true AS yes, false AS no, "
        "NULL::int AS gone, 1.5::float8 AS f') "
        "return type(r.i) .. r.i .. ' ' .. type(r.b) .. ('%.0f'):format(r.b) .. ' ' .. type(r.big) .. r.big .. ' ' .. tostring(r.money) .. ' ' .. "
        "tostring(r.money + r.money) .. ' ' .. tostring(r.yes) .. ' ' .. tostring(r.no) .. ' ' .. tostring(r.gone) .. ' ' .. r.f",
        "number1 number9007199254740991 string9007199254740993 12.50 25.00 true false nil 1.5");
    gives("local r = db.one([[SELECT 'a'::text AS t, '0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70'::uuid AS u, date '2026-11-24' AS d, "
          "timestamptz '2026-11-24 09:06:14.5-05' AS at, '{\"a\": [1, null, {\"b\": \"x\"}]}'::jsonb AS j, ARRAY['a','b \"c\"',NULL] AS list, "
          "ARRAY[1,2] AS ints, '\\x00ff'::bytea AS bytes]]) "
          "return r.t .. ' ' .. r.u .. ' ' .. r.d .. ' ' .. r.at .. ' ' .. r.j.a[3].b .. ' ' .. tostring(r.j.a[2] == json.null) .. ' ' .. #r.list .. "
          "r.list[2] .. ' ' .. "
          "r.ints[1] + r.ints[2] .. ' ' .. r.bytes",
          "a 0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70 2026-11-24 2026-11-24T14:06:14.500000Z x true 3b \"c\" 3 \\x00ff");
}

static void parameters_arrive_as_they_are(void **state) {
    (void)state;
    gives("local r = db.one('SELECT $1::text AS t, $2::int AS i, $3::numeric AS d, $4::bool AS b, $5::text AS gone, $6::int8 AS big, $7::float8 AS "
          "f, $8::text AS nul', "
          "'a\\'; DROP TABLE x; --', 42, decimal('12.50'), true, nil, 9007199254740991, 0.1, json.null) "
          "return r.t .. ' ' .. r.i .. ' ' .. tostring(r.d) .. ' ' .. tostring(r.b) .. ' ' .. tostring(r.gone) .. ' ' .. ('%.0f'):format(r.big) .. ' "
          "' .. r.f .. ' ' .. tostring(r.nul)",
          "a'; DROP TABLE x; -- 42 12.50 true nil 9007199254740991 0.1 nil");
    gives("local r = db.one('SELECT $1::text[] AS t, $2::int[] AS i, $3::numeric[]::text AS d, $4::jsonb AS j, $5::bytea AS b, "
          "cardinality($6::int[]) AS none', "
          "{ 'a', 'b,\"\\\\c', 'NULL', json.null }, { 1, 2, 3 }, { decimal('1.50'), decimal('2') }, db.json({ a = { 1, 2 }, b = decimal('3.10') }), "
          "db.bytes('\\0\\255x'), {}) "
          "return r.t[1] .. r.t[2] .. r.t[3] .. tostring(r.t[4] == json.null) .. ' ' .. #r.i .. ' ' .. r.d .. ' ' .. r.j.a[2] .. r.j.b .. ' ' .. r.b "
          ".. ' ' .. r.none",
          "ab,\"\\cNULLtrue 3 {1.50,2} 23.10 \\x00ff78 0");
    gives("local r = db.one('SELECT $1::int AS first, $2::int[] AS n, $3::text[]::text AS t, $4::numeric[]::text AS d, $5::bool[]::text AS b, "
          "$6::int AS last', "
          "1, db.columns({ { n = 1, t = 'a,b', b = false }, { n = 2, d = decimal('1.50'), other = 1 } }, { 'n', 't', 'd', 'b' }), 6) "
          "return r.first .. ' ' .. r.n[1] .. r.n[2] .. ' ' .. r.t .. ' ' .. r.d .. ' ' .. r.b .. ' ' .. r.last",
          "1 12 {\"a,b\",NULL} {NULL,1.50} {f,NULL} 6");
    gives("local r = db.one('SELECT $1::jsonb[]::text AS j, $2::bool[]::text AS b, $3::float8[]::text AS f, $4::text[] AS t, $5::text AS last', "
          "{ db.json({ a = 'x\"y' }), false, db.json('z') }, { true, false }, { 1.5, -2 }, { 'ñ', '', ',}' }, 'end') "
          "return r.j .. ' ' .. r.b .. ' ' .. r.f .. ' ' .. #r.t .. r.t[1] .. r.t[2] .. r.t[3] .. ' ' .. r.last",
          "{\"{\\\"a\\\": \\\"x\\\\\\\"y\\\"}\",NULL,\"\\\"z\\\"\"} {t,NULL} {1.5,-2} 3ñ,} end");
    raises("db.query('SELECT $1, $2::text[]', 1, { 'a', 'b\\0c' })", "parameter $2 holds a NUL byte");
    raises("db.query('SELECT $1::text[]', { db.bytes('a') })", "parameter $1: a list cannot hold a list");
    gives("return db.one('SELECT cardinality($1::int[]) AS n', db.columns({}, { 'n' })).n", "0");
    raises("db.query('SELECT $1::text', db.columns({ 1 }, { 'n' }))", "parameter $1: db.columns takes a list of tables");
    raises("db.query('SELECT $1::text', db.columns(1, { 'n' }))", "parameter $1: db.columns takes a list of tables and a list of names");
    raises("db.query('SELECT $1, $2', 1, db.columns({ { n = {} } }, { 'n' }))", "parameter $2: a list cannot hold a list");
    raises("local names = {} for i = 1, 65 do names[i] = 'n' end db.query('SELECT 1', db.columns({ {} }, names))", "at most 64 parameters");
    raises("db.query('SELECT $1::text', function() end)", "parameter $1: a function cannot be passed");
    raises("db.query('SELECT $1::text[]', { 'a', {} })", "parameter $1: a list cannot hold a list");
    raises("db.query('SELECT $1::text', 'a\\0b')", "NUL byte");
    raises("db.query({ 'SELECT 1' })", "must be a text");
    raises("db.query('BEGIN')", "cannot begin with \"BEGIN\"");
    raises("db.query('SELECT 1', 1)", "other 08P01");
}

static void row_sets_are_lists_of_rows(void **state) {
    (void)state;
    gives("local rows = db.query('SELECT g AS id, g * 2 AS twice FROM generate_series(1, 3) g') local seen = '' "
          "for i, row in rows:each() do seen = seen .. i .. '=' .. row.twice .. ' ' end "
          "return #rows .. ' ' .. rows[2].id .. ' ' .. tostring(rows[4]) .. ' ' .. rows:one().id .. ' ' .. seen",
          "3 2 nil 1 1=2 2=4 3=6 ");
    gives("return tostring(db.one('SELECT 1 WHERE false'))", "nil");
    gives("return db.exec('INSERT INTO demo.t SELECT g FROM generate_series(1, 5) g') .. ' ' .. db.exec('UPDATE demo.t SET n = 1 WHERE id > 3') .. ' "
          "' .. "
          "db.query('DELETE FROM demo.t RETURNING id').affected",
          "5 2 5");
    raises("return db.one('SELECT 1 AS total').totl", "did you mean \"total\"");
    raises("db.query('SELECT 1')[1] = 2", "cannot be changed");
    /* members beside the columns, and instead of one */
    gives("local q = db.one('SELECT 7 AS id, NULL::text AS note, 1.50 AS total') q.items = db.query('SELECT g AS n FROM generate_series(1, 2) g') "
          "q.total = decimal('2.00') "
          "local back = json.decode(json.encode({ q, rows = nil })) return q.items[2].n .. ' ' .. tostring(q.total) .. ' ' .. #back .. ' ' .. "
          "back[1].id .. ' ' .. "
          "tostring(back[1].note == json.null) .. ' ' .. back[1].total .. ' ' .. back[1].items[2].n",
          "2 2.00 1 7 true 2.00 2");
    gives("return json.encode(db.query('SELECT g AS n, 1.5 AS d FROM generate_series(1, 2) g')) .. json.encode(db.query('SELECT 1 WHERE false'))",
          "[{\"n\":1,\"d\":\"1.5\"},{\"n\":2,\"d\":\"1.5\"}][]");
}

static void several_statements_are_one_flight(void **state) {
    (void)state;
    gives("local a, b, c = db.all({ 'SELECT $1::int AS n', 1 }, { 'SELECT 2 AS n' }, { 'SELECT $1::text AS n, $2::int AS m', nil, 3 }) "
          "return a[1].n .. b[1].n .. tostring(c[1].n) .. c[1].m",
          "12nil3");
    raises("db.all({ 'INSERT INTO demo.t VALUES (1)' }, { 'SELECT 1/0' })", "other 22012");
    gives("return db.one('SELECT count(*)::int AS n FROM demo.t').n .. ''", "0"); /* all or none */
}

static void transactions_end_as_their_function_does(void **state) {
    (void)state;
    gives("local result = db.tx(function(tx) tx:write('INSERT INTO demo.t VALUES ($1, $2)', 1, 'a') tx:write('INSERT INTO demo.t VALUES ($1, $2)', "
          "2, 'b') "
          "local rows, count = tx:all({ 'SELECT name FROM demo.t ORDER BY id' }, { 'SELECT count(*)::int AS n FROM demo.t' }) "
          "tx:write('UPDATE demo.t SET name = $1 WHERE id = 1', 'c') return rows[2].name .. count[1].n end) "
          "return result .. db.one('SELECT name FROM demo.t WHERE id = 1').name",
          "b2c");
    raises("db.tx(function(tx) tx:exec('DELETE FROM demo.t') error('no', 0) end)", "no");
    gives("return db.one('SELECT count(*)::int AS n FROM demo.t').n .. ''", "2");
    gives("local r = db.tx(function(tx) tx:exec('DELETE FROM demo.t') tx:rollback() return 'back' end) return r .. db.one('SELECT count(*)::int AS n "
          "FROM demo.t').n",
          "back2");
    gives("return db.tx(function() return 'nothing was asked' end)", "nothing was asked");
    gives("return db.tx(function(tx) return tx:one([[SELECT current_setting('transaction_isolation') AS i]]).i end, { isolation = 'serializable' })",
          "serializable");
    gives("local ok, problem = pcall(db.tx, function(tx) tx:write('INSERT INTO demo.t VALUES (1)') tx:write('INSERT INTO demo.t VALUES (9)') end) "
          "return tostring(ok) .. problem.kind .. problem.constraint .. db.one('SELECT count(*)::int AS n FROM demo.t').n",
          "falseuniquet_pkey2");
    /* a failure inside is told at the next read, and cannot be talked away */
    gives("local ok = pcall(db.tx, function(tx) pcall(tx.exec, tx, 'SELECT 1/0') tx:exec('INSERT INTO demo.t VALUES (10)') end) "
          "return tostring(ok) .. db.one('SELECT count(*)::int AS n FROM demo.t').n",
          "false2");
    gives("local ok = pcall(db.tx, function(tx) pcall(tx.exec, tx, 'SELECT 1/0') return 'fine' end) return tostring(ok)", "false");
    raises("local kept db.tx(function(tx) kept = tx end) kept:exec('SELECT 1')", "after its end");
    raises("db.tx(function(tx) tx.exec('SELECT 1') end)", "with a colon");
    raises("db.tx(function(tx) for i = 1, 65 do tx:write('SELECT 1') end end)", "can wait in a transaction");
    raises("db.tx(function(tx) tx:exec('COMMIT') end)", "cannot begin with \"COMMIT\"");
    /* many of them beside each other do not see each other */
    gives("db.tx(function(tx) tx:write('UPDATE demo.t SET n = 5 WHERE id = 1') local inside = tx:one('SELECT n FROM demo.t WHERE id = 1').n "
          "kept = inside .. tostring(db.one('SELECT n FROM demo.t WHERE id = 1').n) end) return kept",
          "5nil");
}

static void errors_have_kinds(void **state) {
    (void)state;
    raises("db.tx(function(tx) tx:write('INSERT INTO demo.t (id, parent) VALUES (1, 404)') end)", "foreign_key 23503 t_parent");
    raises("db.exec('INSERT INTO demo.t (id, n) VALUES (1, 5000)')", "check 23514 t_small");
    raises("db.exec('INSERT INTO demo.t (id, name) VALUES (1, NULL)')", "not_null 23502");
    raises("db.exec('SELECT nothing')", "other 42703");
    raises("db.query([[SELECT set_config('statement_timeout', '50', true), pg_sleep(2)]]) db.all({ [[SELECT set_config('statement_timeout', '50', "
           "true)]] }, { 'SELECT pg_sleep(2)' })",
           "timeout 57014");
    raises("db.query('SELECT pg_terminate_backend(pg_backend_pid())')", "maybe");
    raises("db.tx(function(tx) tx:query('SELECT pg_terminate_backend(pg_backend_pid())') end)", "unavailable");
    gives("return tostring(select(2, pcall(db.query, 'SELECT 1/0')))", "database: division by zero");
}

static void rows_end_with_their_request(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with("if kept then return kept.id end kept = db.one('SELECT 1 AS id') return 'kept'", roomy);
    assert_string_equal(run_in(vm).text, "kept");
    outcome_t o = run_in(vm);
    assert_int_equal(o.status, SH_ELUA);
    assert_non_null(strstr(o.text, "used after its request ended"));
    sh_vm_destroy(vm);
    vm = vm_with("if kept then return #kept .. '' end kept = db.query('SELECT 1 AS id') return 'kept'", roomy);
    assert_string_equal(run_in(vm).text, "kept");
    assert_int_equal(run_in(vm).status, SH_ELUA);
    sh_vm_destroy(vm);
    vm = vm_with("if kept then return kept:one('SELECT 1') end db.tx(function(tx) kept = tx tx:exec('SELECT 1') error('x', 0) end)", roomy);
    assert_string_equal(run_in(vm).text, "x");
    assert_int_equal(run_in(vm).status, SH_ELUA);
    sh_vm_destroy(vm);
}

static void a_cancelled_task_leaves_nothing(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "db.query('SELECT pg_sleep(3)')", "db.all({ 'SELECT 1' }, { 'SELECT pg_sleep(3)' })",
        "db.tx(function(tx) tx:write('INSERT INTO demo.t VALUES (1)') tx:query('SELECT pg_sleep(3)') end)",
        "db.tx(function(tx) tx:query('SELECT 1') tx:write('INSERT INTO demo.t VALUES (1)') tx:query('SELECT pg_sleep(3)') end)"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bodies); i++) {
        for (int wait_ms = 0; wait_ms <= 60; wait_ms += 60) {
            static const sh_task_opts_t opts = {.name = "GET /x"};
            sh_vm_t *vm = vm_with(bodies[i], roomy);
            outcome_t o = {0};
            int never = 0;
            sh_task_t *task = sh_task_start(vm, &opts, push_handler, on_done, &o);
            assert_non_null(task);
            if (wait_ms) run_until(&never, 1, (uint64_t)wait_ms);
            sh_task_cancel(task, SH_ECANCELED);
            assert_int_equal(o.status, SH_ECANCELED);
            sh_vm_destroy(vm);
        }
    }
    gives("return db.one('SELECT count(*)::int AS n FROM demo.t').n .. ''", "0");
}

static void budgets_hold(void **state) {
    (void)state;
    sh_budget_t tight = roomy;
    tight.statements_max = 3;
    tight.rows_max = 10;
    sh_vm_t *vm = vm_with("db.query('SELECT 1') db.query('SELECT 2') db.all({ 'SELECT 3' }, { 'SELECT 4' })", tight);
    assert_non_null(strstr(run_in(vm).text, "budget"));
    sh_vm_destroy(vm);
    vm = vm_with("db.all({ 'SELECT 1' }, { 'SELECT generate_series(1, 11)' }) return 'passed'", tight);
    assert_non_null(strstr(run_in(vm).text, "budget"));
    sh_vm_destroy(vm);
    vm = vm_with("db.tx(function(tx) tx:write('INSERT INTO demo.t VALUES (77)') tx:query('SELECT generate_series(1, 11)') end) return 'passed'",
                 tight);
    assert_non_null(strstr(run_in(vm).text, "budget"));
    sh_vm_destroy(vm);
    gives("return db.one('SELECT count(*)::int AS n FROM demo.t').n .. ''", "0");
}

/* Ended in the middle of its writes, some of them on the server already, some not: no row and no event is left, and no connection held. */
static void a_kill_after_writes_leaves_nothing(void **state) {
    (void)state;
    static const struct {
        const char *how;
        int status;
    } kills[] = {
        {"while true do end", SH_EBUDGET},
        {"while true do pcall(function() while true do end end) end", SH_EBUDGET},
        {"pcall(function() while true do end end) return 'kept'", SH_EBUDGET},
        {"local t = {} while true do t = { t } end", SH_EMEMORY},
        {"local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = { i } end end) end", SH_EMEMORY},
        {"for i = 1, 20 do tx:emit('quotation.approved', 'q-' .. i, { quotation_id = 'q' }) end", SH_ELUA},
        {"for i = 1, 300 do tx:query('SELECT 1') end", SH_ELUA},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(kills); i++) {
        static const char *const bodies[] = {
            "db.tx(function(tx) tx:query('INSERT INTO demo.t VALUES (1)') tx:write('INSERT INTO demo.t VALUES (2)')"
            " tx:emit('quotation.approved', 'q-1', { quotation_id = 'q-1' }) %s end)",
            "db.tx(function(tx) tx:write('INSERT INTO demo.t VALUES (1)') tx:emit('quotation.approved', 'q-1', { quotation_id = 'q-1' }) %s end)",
        };
        for (size_t k = 0; k < SH_ARRAY_LEN(bodies); k++) {
            char body[1024];
            woken = 0;
            snprintf(body, sizeof body, bodies[k], kills[i].how);
            outcome_t o = run(body);
            if (o.status != kills[i].status) fail_msg("%s: ended with %d %s", body, o.status, o.text);
            if (o.status == SH_ELUA) assert_non_null(strstr(o.text, "budget"));
            assert_int_equal(woken, 0);
            gives("return db.one('SELECT (SELECT count(*) FROM demo.t)::int + (SELECT count(*) FROM demo.outbox)::int AS n').n .. ''", "0");
        }
    }
}

/* A row set that one request hands to another through an upvalue shows it nothing, not even as an answer. */
static void rows_are_their_request_s_alone(void **state) {
    (void)state;
    static const sh_task_opts_t opts = {.name = "GET /x"};
    sh_vm_t *vm = vm_with("if kept then local ok, why = pcall(function() return kept[1].n end) local _, json_why = pcall(json.encode, kept) "
                          "return tostring(ok) .. why .. json_why end "
                          "kept = db.query('SELECT 1 AS n') db.query('SELECT pg_sleep(1)') return kept[1].n .. ''",
                          roomy);
    outcome_t first = {0}, second = {0};
    int never = 0;
    assert_non_null(sh_task_start(vm, &opts, push_handler, on_done, &first));
    run_until(&never, 1, 300);
    assert_int_equal(first.calls, 0);
    assert_null(sh_task_start(vm, &opts, push_handler, on_done, &second));
    assert_non_null(strstr(second.text, "false"));
    assert_non_null(strstr(second.text, "a row set was used by another request than its own"));
    assert_non_null(strstr(second.text, "json.encode: a row set was used by another request"));
    run_until(&first.calls, 1, PATIENCE_MS);
    assert_string_equal(first.text, "1");
    sh_vm_destroy(vm);
}

static void events_travel_with_their_transaction(void **state) {
    (void)state;
    gives("db.tx(function(tx) tx:write('INSERT INTO demo.t VALUES (1)') tx:emit('quotation.approved', 'q-1', { quotation_id = 'q-1' }) end) "
          "local e = db.one([[SELECT subject, aggregate, headers, encode(payload, 'hex') AS p, event_id::text = headers->>'Nats-Msg-Id' AS same FROM "
          "demo.outbox]]) "
          "return e.subject .. ' ' .. e.aggregate .. ' ' .. e.headers['Shama-Correlation-Id'] .. ' ' .. e.headers['Shama-Source'] .. ' ' .. "
          "tostring(e.same) .. ' ' .. e.p",
          "quotation.approved q-1 request-7 demo true 0a03712d31");
    assert_int_equal(woken, 1);
    gives("db.tx(function(tx) for i = 1, 3 do tx:emit('quotation.approved', 'a\"\\\\' .. i, { quotation_id = 'ñ' .. i }) end end) "
          "local rows = db.query('SELECT aggregate FROM demo.outbox ORDER BY id') return #rows .. rows[4].aggregate",
          "4a\"\\3");
    assert_int_equal(woken, 2);
    raises("db.tx(function(tx) tx:emit('quotation.approved', 'q-2', { quotation_id = 'q' }) error('no', 0) end)", "no");
    raises("db.tx(function(tx) tx:emit('quotation.cancelled', 'q-2', {}) end)", "does not list");
    raises("db.tx(function(tx) tx:emit('quotation.approved', 'q-2', { wrong = 1 }) end)", "wrong");
    assert_int_equal(woken, 2);
    gives("return db.one('SELECT count(*)::int AS n FROM demo.outbox').n .. ''", "4");
}

static void without_a_database_it_says_so(void **state) {
    (void)state;
    sh_pg_pool_t *had = pool;
    pool = NULL;
    sh_vm_t *vm = vm_with("db.query('SELECT 1')", roomy);
    outcome_t o = run_in(vm);
    pool = had;
    assert_int_equal(o.status, SH_ELUA);
    assert_non_null(strstr(o.text, "no database"));
    sh_vm_destroy(vm);
    sh_test_pg_kill(&server, SIGQUIT);
    int never = 0;
    run_until(&never, 1, 400);
    raises("db.query('SELECT 1')", "unavailable");
    raises("db.tx(function(tx) tx:query('SELECT 1') end)", "unavailable");
    assert_int_equal(sh_test_pg_restart(&server), 0);
    for (int i = 0; i < 200 && !sh_pg_pool_is_ready(pool); i++) run_until(&never, 1, 50);
    gives("return db.one('SELECT 1 AS n').n .. ''", "1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(values_have_their_lua_types, clean),
        cmocka_unit_test_setup(parameters_arrive_as_they_are, clean),
        cmocka_unit_test_setup(row_sets_are_lists_of_rows, clean),
        cmocka_unit_test_setup(several_statements_are_one_flight, clean),
        cmocka_unit_test_setup(transactions_end_as_their_function_does, clean),
        cmocka_unit_test_setup(errors_have_kinds, clean),
        cmocka_unit_test_setup(rows_end_with_their_request, clean),
        cmocka_unit_test_setup(a_cancelled_task_leaves_nothing, clean),
        cmocka_unit_test_setup(budgets_hold, clean),
        cmocka_unit_test_setup(a_kill_after_writes_leaves_nothing, clean),
        cmocka_unit_test_setup(rows_are_their_request_s_alone, clean),
        cmocka_unit_test_setup(events_travel_with_their_transaction, clean),
        cmocka_unit_test_setup(without_a_database_it_says_so, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
