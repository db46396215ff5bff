/* Proves the pool against a real Postgres: statements of many tasks share connections without hurting each other, leases are whole
 * transactions and never leak one, waits are bounded, and a server that is killed costs exactly what was in flight.
 * How: a private cluster, one loop, callbacks that note what they got; the loop runs until what is awaited has come, or the test fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/pg_pool.h"
#include "support/pg.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sh_test_pg_t server;
static uv_loop_t loop;
static sh_log_t log_to = {.level = SH_LOG_OFF, .fd = 2};
static sh_pg_pool_t *pool;

enum { PATIENCE_MS = 15000 };

/* ---- running the loop */

static void on_patience(uv_timer_t *timer) { *(bool *)timer->data = true; }

/* Runs the loop until *count reaches `want`. */
static void run_until(const int *count, int want) {
    uv_timer_t timer;
    bool is_over = false;
    uv_timer_init(&loop, &timer);
    timer.data = &is_over;
    uv_timer_start(&timer, on_patience, PATIENCE_MS, 0);
    while (*count < want && !is_over) uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    if (is_over) fail_msg("waited for %d answers, got %d", want, *count);
}

static void pass_ms(uint64_t ms) {
    uv_timer_t timer;
    bool is_over = false;
    uv_timer_init(&loop, &timer);
    timer.data = &is_over;
    uv_timer_start(&timer, on_patience, ms, 0);
    while (!is_over) uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

/* ---- what was answered */

typedef struct got {
    int calls, status;
    char text[256], sqlstate[6], constraint[64], all[256]; /* text: the first value; all: of a flight, first values with commas */
    uint32_t rows, affected;
    int statement;
} got_t;

static void note_error(got_t *got, const sh_pg_error_t *error) {
    snprintf(got->sqlstate, sizeof got->sqlstate, "%s", error->sqlstate);
    snprintf(got->constraint, sizeof got->constraint, "%s", error->constraint);
    snprintf(got->text, sizeof got->text, "%s", error->message);
    got->statement = error->statement;
}

static void on_rows(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    got_t *got = data;
    got->calls++;
    got->status = status;
    got->text[0] = 0;
    assert_true((status == 0) == (rows != NULL) && (status == 0) == (error == NULL));
    if (error) {
        assert_int_equal(error->code, status);
        note_error(got, error);
        return;
    }
    got->rows = rows->row_count;
    got->affected = rows->affected;
    if (rows->row_count && rows->column_count) snprintf(got->text, sizeof got->text, "%s", sh_pg_rows_text(rows, 0, 0).ptr);
}

static void on_flight(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    got_t *got = data;
    got->calls++;
    got->status = status;
    got->all[0] = got->text[0] = 0;
    if (error) {
        note_error(got, error);
        return;
    }
    got->rows = count;
    for (uint32_t i = 0; i < count; i++) {
        assert_non_null(rows[i]);
        size_t at = strlen(got->all);
        snprintf(got->all + at, sizeof got->all - at, "%s%s", i ? "," : "", rows[i]->row_count ? sh_pg_rows_text(rows[i], 0, 0).ptr : "-");
    }
}

static void query_with(got_t *got, const char *sql, uint32_t count, const char *const *params) {
    const sh_pg_statement_t statement = {sh_str_of(sql), count, params};
    sh_pg_ticket_t *ticket;
    int before = got->calls;
    assert_int_equal(sh_pg_pool_query(pool, &statement, on_rows, got, &ticket), SH_OK);
    assert_int_equal(got->calls, before); /* never inside the start call */
}
static void query(got_t *got, const char *sql) { query_with(got, sql, 0, NULL); }

static void ask(got_t *got, const char *sql) {
    got->calls = 0;
    query(got, sql);
    run_until(&got->calls, 1);
}

typedef struct leased {
    int calls, status;
    sh_pg_lease_t *lease;
} leased_t;

static void on_lease(void *data, int status, sh_pg_lease_t *lease, const sh_pg_error_t *error) {
    leased_t *l = data;
    l->calls++;
    l->status = status;
    l->lease = lease;
    assert_true((status == 0) == (error == NULL));
}

static sh_pg_lease_t *lease(void) {
    leased_t l = {0};
    sh_pg_ticket_t *ticket;
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &l, &ticket), SH_OK);
    assert_int_equal(l.calls, 0);
    run_until(&l.calls, 1);
    assert_int_equal(l.status, SH_OK);
    return l.lease;
}

static void send_flight(sh_pg_lease_t *l, got_t *got, unsigned flags, const char *const *sql, uint32_t count) {
    sh_pg_statement_t statements[16];
    for (uint32_t i = 0; i < count; i++) statements[i] = (sh_pg_statement_t){sh_str_of(sql[i]), 0, NULL};
    int before = got->calls;
    assert_int_equal(sh_pg_lease_send(l, statements, count, flags, on_flight, got), SH_OK);
    assert_int_equal(got->calls, before);
    run_until(&got->calls, before + 1);
}
#define SEND(lease, got, flags, ...)                                                                                                                 \
    do {                                                                                                                                             \
        const char *const sql_[] = {__VA_ARGS__};                                                                                                    \
        send_flight((lease), (got), (flags), sql_, SH_ARRAY_LEN(sql_));                                                                              \
    } while (0)

/* ---- each test has its pool */

static void on_closed(void *data) { ++*(int *)data; }

static void open_pool(sh_pg_opts_t opts) {
    opts.conninfo = opts.conninfo ? opts.conninfo : server.conninfo;
    opts.name = "test";
    if (!opts.statement_ms_max) opts.statement_ms_max = 5000;
    assert_int_equal(sh_pg_pool_create(&loop, &opts, &log_to, &pool), SH_OK);
}

static void close_pool(void) {
    int closed = 0;
    sh_pg_pool_close(pool, 1000, on_closed, &closed);
    run_until(&closed, 1);
    pool = NULL;
}

static sh_pg_pool_stats_t stats(void) {
    sh_pg_pool_stats_t s;
    sh_pg_pool_stats(pool, &s);
    return s;
}

static int setup(void **state) {
    (void)state;
    return uv_loop_init(&loop) || sh_test_pg_start(&server) ||
                   !sh_test_pg_run(&server,
                                   "CREATE TABLE t (id int PRIMARY KEY, parent int CONSTRAINT t_parent REFERENCES t DEFERRABLE INITIALLY DEFERRED, "
                                   "n int CHECK (n < 1000)); SELECT 'ok'")
               ? -1
               : 0;
}
static int teardown(void **state) {
    (void)state;
    sh_test_pg_stop(&server);
    return uv_loop_close(&loop); /* every handle was closed */
}
static int clean(void **state) {
    (void)state;
    return sh_test_pg_run(&server, "DELETE FROM t; SELECT 'ok'") ? 0 : -1;
}

/* ---- tests */

static void statements_share_connections(void **state) {
    (void)state;
    enum { N = 400 };
    static got_t got[N];
    char numbers[N][12];
    memset(got, 0, sizeof got);
    open_pool((sh_pg_opts_t){.connections_max = 3});
    int done = 0;
    for (int i = 0; i < N; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%d", i);
        const char *params[] = {numbers[i]};
        query_with(&got[i], "SELECT $1::int", 1, params);
    }
    for (int i = 0; i < N; i++) run_until(&got[i].calls, 1);
    for (int i = 0; i < N; i++) {
        done += got[i].status == SH_OK;
        assert_string_equal(got[i].text, numbers[i]);
    }
    assert_int_equal(done, N);
    assert_true(stats().connects <= 3);
    assert_int_equal(stats().queries, N);
    /* settings of each connection, though the server's own are others */
    got_t g = {0};
    ask(&g,
        "SELECT timestamptz '2026-11-24 09:06:14.5+00' || '|' || current_setting('statement_timeout') || '|' || current_setting('application_name') "
        "|| '|' || current_setting('client_encoding') || '|' || '\\x00ff'::bytea::text");
    assert_string_equal(g.text, "2026-11-24 09:06:14.5+00|5s|shama/test|UTF8|\\x00ff");
    ask(&g, "SELECT NULL::int");
    assert_string_equal(g.text, "");
    ask(&g, "INSERT INTO t SELECT g FROM generate_series(1, 7) g");
    assert_int_equal(g.affected, 7);
    ask(&g, "SELECT FROM t");
    assert_int_equal(g.rows, 7);
    assert_int_equal(g.affected, 0);
    close_pool();
}

static void a_failed_statement_hurts_nobody_else(void **state) {
    (void)state;
    static got_t got[60];
    memset(got, 0, sizeof got);
    open_pool((sh_pg_opts_t){.connections_max = 1, .shared_depth = 60});
    got_t g = {0};
    ask(&g, "INSERT INTO t VALUES (1)");
    for (int round = 0; round < 2; round++) { /* with and without anything prepared */
        for (int i = 0; i < 60; i++) {
            got[i].calls = 0;
            query(&got[i], i % 3 == 0 ? "SELECT 42" : i % 3 == 1 ? "INSERT INTO t VALUES (1)" : "SELECT no_such_column FROM t");
        }
        for (int i = 0; i < 60; i++) {
            run_until(&got[i].calls, 1);
            if (i % 3 == 0) {
                assert_int_equal(got[i].status, SH_OK);
                assert_string_equal(got[i].text, "42");
            } else {
                assert_int_equal(got[i].status, SH_EDB);
                assert_string_equal(got[i].sqlstate, i % 3 == 1 ? "23505" : "42703");
                if (i % 3 == 1) assert_string_equal(got[i].constraint, "t_pkey");
            }
        }
    }
    assert_int_equal(stats().connects, 1);
    close_pool();
}

static void a_shared_flight_is_all_or_none(void **state) {
    (void)state;
    open_pool((sh_pg_opts_t){.connections_max = 1});
    sh_pg_ticket_t *ticket;
    for (int round = 0; round < 3; round++) {
        got_t g = {0};
        const sh_pg_statement_t good[] = {{SH_STR("SELECT 1"), 0, NULL}, {SH_STR("SELECT 2"), 0, NULL}, {SH_STR("SELECT 1"), 0, NULL},
                                          {SH_STR("SELECT 4"), 0, NULL}, {SH_STR("SELECT 5"), 0, NULL}, {SH_STR("SELECT WHERE false"), 0, NULL}};
        assert_int_equal(sh_pg_pool_flight(pool, good, 6, on_flight, &g, &ticket), SH_OK);
        run_until(&g.calls, 1);
        assert_int_equal(g.status, SH_OK);
        assert_string_equal(g.all, "1,2,1,4,5,-");
        const sh_pg_statement_t bad[] = {
            {SH_STR("INSERT INTO t VALUES (5)"), 0, NULL}, {SH_STR("INSERT INTO t VALUES (6, 0, 5000)"), 0, NULL}, {SH_STR("SELECT 77"), 0, NULL}};
        assert_int_equal(sh_pg_pool_flight(pool, bad, 3, on_flight, &g, &ticket), SH_OK);
        run_until(&g.calls, 2);
        assert_int_equal(g.status, SH_EDB);
        assert_string_equal(g.sqlstate, "23514");
        assert_int_equal(g.statement, 1);
        ask(&g, "SELECT count(*) FROM t");
        assert_string_equal(g.text, "0");
        ask(&g, "SELECT 77"); /* its Parse was skipped in the failed flight */
        assert_string_equal(g.text, "77");
    }
    close_pool();
}

static void what_does_not_belong_on_a_shared_connection_is_refused(void **state) {
    (void)state;
    static const char *const refused[] = {"BEGIN",
                                          "  /* a /* b */ */ commit",
                                          "-- x\nSET timezone = 'x'",
                                          "COPY t TO STDOUT",
                                          "Rollback to savepoint a",
                                          "LISTEN x",
                                          "PREPARE a AS SELECT 1",
                                          "DISCARD ALL"};
    static const char *const fine[] = {"SELECT 'BEGIN'", "WITH x AS (SELECT 1) SELECT * FROM x", "-- BEGIN\nSELECT 1", "(SELECT 1)", "VALUES (1)"};
    got_t g = {0};
    sh_pg_ticket_t *ticket;
    open_pool((sh_pg_opts_t){.connections_max = 1});
    for (int warm = 0; warm < 2; warm++) {
        for (size_t i = 0; i < SH_ARRAY_LEN(refused); i++) {
            const sh_pg_statement_t statement = {sh_str_of(refused[i]), 0, NULL};
            assert_int_equal(sh_pg_pool_query(pool, &statement, on_rows, &g, &ticket), SH_EINVAL);
        }
        for (size_t i = 0; i < SH_ARRAY_LEN(fine); i++) {
            ask(&g, fine[i]);
            assert_int_equal(g.status, SH_OK);
        }
    }
    const char *params[65] = {0};
    const sh_pg_statement_t many = {SH_STR("SELECT 1"), 65, params};
    assert_int_equal(sh_pg_pool_query(pool, &many, on_rows, &g, &ticket), SH_EINVAL);
    close_pool();
}

static void a_lease_is_a_transaction(void **state) {
    (void)state;
    got_t g = {0}, other = {0};
    open_pool((sh_pg_opts_t){.connections_max = 2});
    sh_pg_lease_t *l = lease();
    SEND(l, &g, SH_PG_BEGIN, "INSERT INTO t VALUES (1)", "SELECT count(*) FROM t");
    assert_int_equal(g.status, SH_OK);
    assert_string_equal(g.all, "-,1");
    assert_true(sh_pg_lease_in_transaction(l));
    ask(&other, "SELECT count(*) FROM t");
    assert_string_equal(other.text, "0");
    SEND(l, &g, SH_PG_COMMIT, "INSERT INTO t VALUES (2)");
    assert_int_equal(g.status, SH_OK);
    assert_false(sh_pg_lease_in_transaction(l));
    ask(&other, "SELECT count(*) FROM t");
    assert_string_equal(other.text, "2");
    /* everything in one flight, and none at all */
    sh_pg_lease_isolation(l, "BEGIN ISOLATION LEVEL SERIALIZABLE");
    SEND(l, &g, SH_PG_BEGIN | SH_PG_COMMIT, "INSERT INTO t VALUES (3)", "SELECT current_setting('transaction_isolation')");
    assert_string_equal(g.all, "-,serializable");
    send_flight(l, &g, SH_PG_BEGIN, NULL, 0);
    assert_true(sh_pg_lease_in_transaction(l));
    send_flight(l, &g, SH_PG_ROLLBACK, NULL, 0);
    assert_int_equal(g.status, SH_OK);
    assert_false(sh_pg_lease_in_transaction(l));
    sh_pg_lease_return(l);
    ask(&other, "SELECT count(*) FROM t");
    assert_string_equal(other.text, "3");
    assert_int_equal(stats().leased, 0);
    close_pool();
}

static void a_failing_statement_fails_its_transaction(void **state) {
    (void)state;
    got_t g = {0};
    const sh_pg_statement_t one = {SH_STR("SELECT 1"), 0, NULL};
    open_pool((sh_pg_opts_t){.connections_max = 1});
    sh_pg_lease_t *l = lease();
    SEND(l, &g, SH_PG_BEGIN | SH_PG_COMMIT, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)");
    assert_int_equal(g.status, SH_EDB);
    assert_string_equal(g.sqlstate, "23505");
    assert_int_equal(g.statement, 1);
    assert_true(sh_pg_lease_in_transaction(l));
    assert_int_equal(sh_pg_lease_send(l, &one, 1, 0, on_flight, &g), SH_EINVAL);
    assert_int_equal(sh_pg_lease_send(l, NULL, 0, SH_PG_COMMIT, on_flight, &g), SH_EINVAL);
    send_flight(l, &g, SH_PG_ROLLBACK, NULL, 0);
    assert_int_equal(g.status, SH_OK);
    SEND(l, &g, SH_PG_BEGIN | SH_PG_COMMIT, "INSERT INTO t VALUES (9)");
    assert_int_equal(g.status, SH_OK);
    sh_pg_lease_return(l);
    ask(&g, "SELECT string_agg(id::text, ' ') FROM t");
    assert_string_equal(g.text, "9");
    close_pool();
}

static void a_refused_commit_is_the_flights_failure(void **state) {
    (void)state;
    got_t g = {0};
    open_pool((sh_pg_opts_t){.connections_max = 1});
    sh_pg_lease_t *l = lease();
    SEND(l, &g, SH_PG_BEGIN | SH_PG_COMMIT, "INSERT INTO t VALUES (1, 404)");
    assert_int_equal(g.status, SH_EDB);
    assert_string_equal(g.sqlstate, "23503");
    assert_string_equal(g.constraint, "t_parent");
    assert_int_equal(g.statement, -1);
    assert_false(sh_pg_lease_in_transaction(l));
    SEND(l, &g, SH_PG_BEGIN | SH_PG_COMMIT, "INSERT INTO t VALUES (1, 1)");
    assert_int_equal(g.status, SH_OK);
    sh_pg_lease_return(l);
    close_pool();
}

static void a_forgotten_transaction_is_rolled_back(void **state) {
    (void)state;
    got_t g = {0};
    open_pool((sh_pg_opts_t){.connections_max = 1});
    for (int i = 0; i < 3; i++) {
        sh_pg_lease_t *l = lease();
        SEND(l, &g, SH_PG_BEGIN, "INSERT INTO t VALUES (1)");
        assert_int_equal(g.status, SH_OK);
        if (i == 1) SEND(l, &g, 0, "SELECT 1/0");
        sh_pg_lease_return(l);
        ask(&g, "SELECT count(*) || ' ' || (pg_current_xact_id_if_assigned() IS NULL) FROM t");
        assert_string_equal(g.text, "0 true");
    }
    assert_int_equal(stats().connects, 1);
    close_pool();
}

static void a_lease_returned_in_flight_is_cancelled_at_the_server(void **state) {
    (void)state;
    got_t g = {0}, never = {0};
    open_pool((sh_pg_opts_t){.connections_max = 1});
    sh_pg_lease_t *l = lease();
    const sh_pg_statement_t slow[] = {{SH_STR("INSERT INTO t VALUES (1)"), 0, NULL}, {SH_STR("SELECT pg_sleep(4)"), 0, NULL}};
    assert_int_equal(sh_pg_lease_send(l, slow, 2, SH_PG_BEGIN, on_flight, &never), SH_OK);
    pass_ms(50);
    uint64_t started = uv_hrtime();
    sh_pg_lease_return(l);
    ask(&g, "SELECT count(*) FROM t");
    assert_string_equal(g.text, "0");
    assert_true(uv_hrtime() - started < 2000000000);
    assert_int_equal(never.calls, 0);
    assert_int_equal(stats().connects, 1); /* the same connection */
    /* one that ends by itself, in the same turn */
    l = lease();
    assert_int_equal(sh_pg_lease_send(l, slow, 1, SH_PG_BEGIN, on_flight, &never), SH_OK);
    sh_pg_lease_return(l);
    ask(&g, "SELECT count(*) FROM t");
    assert_string_equal(g.text, "0");
    assert_int_equal(never.calls, 0);
    close_pool();
}

/* A task: BEGIN with its first statement, another one, COMMIT; and a shared statement in between. */
typedef struct task {
    sh_pg_lease_t *lease;
    int step, *done;
    char id[12];
} task_t;

static void task_step(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error);

static void task_leased(void *data, int status, sh_pg_lease_t *l, const sh_pg_error_t *error) {
    task_t *task = data;
    (void)error;
    assert_int_equal(status, SH_OK);
    task->lease = l;
    const char *params[] = {task->id};
    const sh_pg_statement_t insert = {SH_STR("INSERT INTO t (id) VALUES ($1::int)"), 1, params};
    assert_int_equal(sh_pg_lease_send(l, &insert, 1, SH_PG_BEGIN, task_step, task), SH_OK);
}

static void task_read(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    task_t *task = data;
    (void)error;
    assert_int_equal(status, SH_OK);
    assert_string_equal(sh_pg_rows_text(rows, 0, 0).ptr, task->id);
    ++*task->done;
}

static void task_step(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    task_t *task = data;
    (void)rows, (void)count, (void)error;
    assert_int_equal(status, SH_OK);
    const char *params[] = {task->id};
    if (task->step++ == 0) {
        const sh_pg_statement_t update = {SH_STR("UPDATE t SET n = 1 WHERE id = $1::int"), 1, params};
        assert_int_equal(sh_pg_lease_send(task->lease, &update, 1, SH_PG_COMMIT, task_step, task), SH_OK);
        return;
    }
    sh_pg_lease_return(task->lease);
    const sh_pg_statement_t read = {SH_STR("SELECT id FROM t WHERE id = $1::int AND n = 1"), 1, params};
    sh_pg_ticket_t *ticket;
    assert_int_equal(sh_pg_pool_query(pool, &read, task_read, task, &ticket), SH_OK);
}

static void more_tasks_than_connections_all_finish(void **state) {
    (void)state;
    enum { N = 200 };
    static task_t tasks[N];
    for (uint32_t connections = 1; connections <= 2; connections++) {
        int done = 0;
        sh_pg_ticket_t *ticket;
        assert_non_null(sh_test_pg_run(&server, "DELETE FROM t; SELECT 1"));
        open_pool((sh_pg_opts_t){.connections_max = connections, .wait_ms_max = 10000});
        for (int i = 0; i < N; i++) {
            tasks[i] = (task_t){.done = &done};
            snprintf(tasks[i].id, sizeof tasks[i].id, "%d", i);
            assert_int_equal(sh_pg_pool_lease(pool, task_leased, &tasks[i], &ticket), SH_OK);
        }
        run_until(&done, N);
        assert_true(stats().connects <= connections);
        assert_int_equal(stats().waiting, 0);
        assert_true(stats().waits > 0);
        close_pool();
    }
}

static void with_one_connection_leases_and_statements_alternate(void **state) {
    (void)state;
    got_t first = {0}, second = {0}, g = {0};
    leased_t waiting = {0};
    sh_pg_ticket_t *ticket;
    open_pool((sh_pg_opts_t){.connections_max = 1});
    sh_pg_lease_t *l = lease();
    query(&first, "SELECT 1");
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &waiting, &ticket), SH_OK);
    query(&second, "SELECT 2");
    sh_pg_lease_return(l);
    run_until(&waiting.calls, 1);
    assert_int_equal(first.calls, 1); /* came before the lease */
    pass_ms(30);
    assert_int_equal(second.calls, 0); /* came after it */
    SEND(waiting.lease, &g, 0, "SELECT 3");
    sh_pg_lease_return(waiting.lease);
    run_until(&second.calls, 1);
    close_pool();
}

static void waits_are_bounded(void **state) {
    (void)state;
    got_t g = {0}, cancelled = {0};
    leased_t waiting = {0};
    const sh_pg_statement_t one = {SH_STR("SELECT 1"), 0, NULL};
    sh_pg_ticket_t *ticket;
    open_pool((sh_pg_opts_t){.connections_max = 1, .waiting_max = 2, .wait_ms_max = 200});
    sh_pg_lease_t *l = lease();
    query(&g, "SELECT 1");
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &waiting, &ticket), SH_OK);
    assert_int_equal(sh_pg_pool_query(pool, &one, on_rows, &g, &ticket), SH_ELIMIT);
    assert_int_equal(stats().waiting, 2);
    uint64_t started = uv_hrtime();
    run_until(&g.calls, 1);
    run_until(&waiting.calls, 1);
    assert_int_equal(g.status, SH_ETIMEDOUT);
    assert_int_equal(waiting.status, SH_ETIMEDOUT);
    assert_true(uv_hrtime() - started > 150000000 && uv_hrtime() - started < 1000000000);
    /* one that does not want to wait any more */
    assert_int_equal(sh_pg_pool_query(pool, &one, on_rows, &cancelled, &ticket), SH_OK);
    sh_pg_ticket_cancel(ticket);
    sh_pg_lease_return(l);
    ask(&g, "SELECT 5");
    assert_int_equal(cancelled.calls, 0);
    /* cancelled on its way, and between the grant and its callback */
    assert_int_equal(sh_pg_pool_query(pool, &one, on_rows, &cancelled, &ticket), SH_OK);
    sh_pg_ticket_cancel(ticket);
    ask(&g, "SELECT 5");
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &waiting, &ticket), SH_OK);
    sh_pg_ticket_cancel(ticket);
    ask(&g, "SELECT 6");
    assert_string_equal(g.text, "6");
    assert_int_equal(cancelled.calls, 0);
    assert_int_equal(waiting.calls, 1);
    close_pool();
}

static void a_slow_statement_times_out_at_the_server(void **state) {
    (void)state;
    got_t g = {0};
    open_pool((sh_pg_opts_t){.connections_max = 1, .statement_ms_max = 100});
    ask(&g, "SELECT pg_sleep(3)");
    assert_int_equal(g.status, SH_ETIMEDOUT);
    assert_string_equal(g.sqlstate, "57014");
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_OK);
    close_pool();
}

static void a_server_that_stands_still_is_given_up(void **state) {
    (void)state;
    got_t g = {0};
    open_pool((sh_pg_opts_t){.connections_max = 1, .statement_ms_max = 100, .connect_ms_max = 300});
    ask(&g, "SELECT pg_backend_pid()");
    pid_t backend = atoi(g.text);
    kill(backend, SIGSTOP);
    ask(&g, "SELECT 1");
    kill(backend, SIGCONT);
    assert_int_equal(g.status, SH_EMAYBE);
    ask(&g, "SELECT 2");
    assert_string_equal(g.text, "2");
    close_pool();
}

static void prepared_statements_are_bounded_and_recover(void **state) {
    (void)state;
    got_t g = {0};
    char sql[64];
    open_pool((sh_pg_opts_t){.connections_max = 1, .prepared_max = 10});
    for (int i = 0; i < 60; i++) {
        snprintf(sql, sizeof sql, "SELECT %d", i); /* the same address, other bytes */
        ask(&g, sql);
        assert_int_equal(atoi(g.text), i);
    }
    ask(&g, "SELECT count(*) FROM pg_prepared_statements");
    assert_true(atoi(g.text) <= 11);
    /* a table that changes under a statement's feet: "cached plan must not change result type" is told once */
    ask(&g, "SELECT * FROM t");
    assert_non_null(sh_test_pg_run(&server, "ALTER TABLE t ADD COLUMN x int; SELECT 1"));
    ask(&g, "SELECT * FROM t");
    ask(&g, "SELECT * FROM t");
    assert_int_equal(g.status, SH_OK);
    close_pool();
    /* a server that forgot everything */
    open_pool((sh_pg_opts_t){.connections_max = 1});
    ask(&g, "SELECT 4242");
    ask(&g, "SELECT set_config('timezone', 'Asia/Tokyo', false)");
    sh_pg_lease_t *l = lease();
    SEND(l, &g, 0, "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
    sh_pg_lease_return(l);
    ask(&g, "SELECT 4242");
    assert_int_equal(g.status, SH_EUNAVAILABLE);
    ask(&g, "SELECT 4242");
    assert_string_equal(g.text, "4242");
    ask(&g, "SELECT current_setting('timezone')");
    assert_string_equal(g.text, "UTC");
    assert_int_equal(stats().connects, 1);
    close_pool();
}

static void large_parameters_and_answers_pass(void **state) {
    (void)state;
    static got_t got[8];
    memset(got, 0, sizeof got);
    size_t n = 3 << 20;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    const char *params[] = {text};
    open_pool((sh_pg_opts_t){.connections_max = 1});
    for (int i = 0; i < 8; i++) query_with(&got[i], "SELECT length($1) || $1", 1, params);
    for (int i = 0; i < 8; i++) {
        run_until(&got[i].calls, 1);
        assert_int_equal(got[i].status, SH_OK);
        assert_memory_equal(got[i].text, "3145728xxx", 10);
    }
    free(text);
    close_pool();
}

static void a_lost_connection_costs_what_was_in_flight(void **state) {
    (void)state;
    got_t g = {0}, hit = {0}, flight = {0};
    open_pool((sh_pg_opts_t){.connections_max = 2});
    ask(&g, "SELECT 1");
    query(&hit, "SELECT pg_terminate_backend(pg_backend_pid())");
    run_until(&hit.calls, 1);
    assert_int_equal(hit.status, SH_EMAYBE);
    ask(&g, "SELECT 2"); /* waits for the next connection */
    assert_int_equal(g.status, SH_OK);
    /* in a transaction without COMMIT nothing can have been done */
    sh_pg_lease_t *l = lease();
    SEND(l, &flight, SH_PG_BEGIN, "INSERT INTO t VALUES (1)");
    SEND(l, &flight, 0, "SELECT pg_terminate_backend(pg_backend_pid())");
    assert_int_equal(flight.status, SH_EUNAVAILABLE);
    assert_int_equal(sh_pg_lease_send(l, NULL, 0, SH_PG_COMMIT, on_flight, &flight), SH_EUNAVAILABLE);
    assert_false(sh_pg_lease_in_transaction(l));
    sh_pg_lease_return(l);
    l = lease();
    SEND(l, &flight, SH_PG_BEGIN | SH_PG_COMMIT, "SELECT pg_terminate_backend(pg_backend_pid())");
    assert_int_equal(flight.status, SH_EMAYBE);
    sh_pg_lease_return(l);
    /* lost while a lease rests */
    l = lease();
    SEND(l, &flight, SH_PG_BEGIN, "SELECT pg_backend_pid()");
    int pid = atoi(flight.all);
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", pid);
    ask(&g, sql);
    pass_ms(100);
    assert_int_equal(sh_pg_lease_send(l, NULL, 0, SH_PG_COMMIT, on_flight, &flight), SH_EUNAVAILABLE);
    sh_pg_lease_return(l);
    close_pool();
}

static void a_killed_server_comes_back(void **state) {
    (void)state;
    static got_t flying[10];
    got_t g = {0};
    leased_t waiting = {0};
    sh_pg_ticket_t *ticket;
    const sh_pg_statement_t one = {SH_STR("SELECT 1"), 0, NULL};
    memset(flying, 0, sizeof flying);
    open_pool((sh_pg_opts_t){.connections_max = 2});
    ask(&g, "SELECT 1");
    assert_true(sh_pg_pool_is_ready(pool));
    sh_pg_lease_t *l = lease();
    for (int i = 0; i < 10; i++) query(&flying[i], "SELECT pg_sleep(5)");
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &waiting, &ticket), SH_OK);
    for (int i = 0; i < 100 && !stats().shared; i++) pass_ms(20);
    pass_ms(50);
    sh_test_pg_kill(&server, SIGQUIT);
    int maybe = 0;
    for (int i = 0; i < 10; i++) {
        run_until(&flying[i].calls, 1);
        maybe += flying[i].status == SH_EMAYBE;
        assert_true(flying[i].status == SH_EMAYBE || flying[i].status == SH_EUNAVAILABLE);
    }
    assert_int_equal(maybe, 8); /* shared_depth of them had been sent, two were waiting */
    run_until(&waiting.calls, 1);
    assert_int_equal(waiting.status, SH_EUNAVAILABLE);
    pass_ms(200);
    assert_int_equal(sh_pg_pool_query(pool, &one, on_rows, &g, &ticket), SH_EUNAVAILABLE); /* at once */
    assert_int_equal(sh_pg_pool_lease(pool, on_lease, &waiting, &ticket), SH_EUNAVAILABLE);
    pass_ms(1000);
    assert_false(sh_pg_pool_is_ready(pool));
    sh_pg_lease_return(l);
    assert_int_equal(sh_test_pg_restart(&server), 0);
    for (int i = 0; i < 120 && !sh_pg_pool_is_ready(pool); i++) pass_ms(50);
    assert_true(sh_pg_pool_is_ready(pool));
    ask(&g, "SELECT 9");
    assert_string_equal(g.text, "9");
    close_pool();
}

static void names_are_resolved_and_hosts_tried_in_turn(void **state) {
    (void)state;
    char conninfo[200];
    got_t g = {0};
    snprintf(conninfo, sizeof conninfo, "host=no-such-host.invalid,localhost port=1,%d user=postgres dbname=postgres target_session_attrs=read-write",
             server.port);
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = conninfo, .wait_ms_max = 5000, .connect_ms_max = 5000});
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_OK);
    close_pool();
    snprintf(conninfo, sizeof conninfo, "postgresql://postgres@localhost:%d/postgres?sslmode=disable", server.port);
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = conninfo});
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_OK);
    close_pool();
    snprintf(conninfo, sizeof conninfo, "host=%s port=%d user=postgres dbname=postgres", server.folder, server.port); /* a socket file */
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = conninfo});
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_OK);
    close_pool();
    /* nobody there, a wrong database, a wrong string */
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = "host=127.0.0.1 port=1"});
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_EUNAVAILABLE);
    close_pool();
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = "host=no-such-host.invalid"});
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_EUNAVAILABLE);
    close_pool();
    sh_pg_pool_t *none;
    const sh_pg_opts_t bad = {.conninfo = "what=ever", .name = "x"};
    assert_int_equal(sh_pg_pool_create(&loop, &bad, &log_to, &none), SH_EINVAL);
    /* closed before it ever connected */
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = "host=localhost"});
    close_pool();
}

/* Encryption with the server's name checked, and a password by SCRAM, with a certificate of the test's own. */
static void a_connection_can_be_encrypted_and_checked(void **state) {
    (void)state;
    static got_t got[4];
    char command[512], conninfo[300];
    got_t g = {0};
    size_t n = 2 << 20;
    char *text = malloc(n + 1);
    const char *params[] = {text};
    memset(text, 'y', n);
    text[n] = 0;
    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext "
             "subjectAltName=DNS:localhost "
             "2>/dev/null && chown --reference=data key.pem cert.pem && chmod 600 key.pem && chmod 755 . && "
             "printf 'hostssl all app all scram-sha-256\\nhost all postgres all trust\\nlocal all all trust\\n' > data/pg_hba.conf",
             server.folder);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "ALTER SYSTEM SET ssl_cert_file = '%s/cert.pem'", server.folder);
    sh_test_pg_run(&server, command);
    snprintf(command, sizeof command, "ALTER SYSTEM SET ssl_key_file = '%s/key.pem'", server.folder);
    sh_test_pg_run(&server, command);
    sh_test_pg_run(&server, "ALTER SYSTEM SET ssl = on");
    assert_non_null(sh_test_pg_run(&server, "CREATE ROLE app LOGIN PASSWORD 'it''s a secret'; SELECT pg_reload_conf()"));
    pass_ms(300);
    snprintf(conninfo, sizeof conninfo,
             "host=localhost port=%d user=app password='it\\'s a secret' dbname=postgres sslmode=verify-full sslrootcert=%s/cert.pem", server.port,
             server.folder);
    memset(got, 0, sizeof got);
    open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = conninfo});
    ask(&g, "SELECT ssl::text || ' ' || (SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND usename = 'app') FROM pg_stat_ssl "
            "WHERE pid = pg_backend_pid()");
    assert_string_equal(g.text, "true 1");
    for (int i = 0; i < 4; i++) query_with(&got[i], "SELECT length($1) || $1", 1, params);
    for (int i = 0; i < 4; i++) {
        run_until(&got[i].calls, 1);
        assert_memory_equal(got[i].text, "2097152yyy", 10);
    }
    sh_pg_lease_t *l = lease();
    const sh_pg_statement_t slow = {SH_STR("SELECT pg_sleep(4)"), 0, NULL};
    assert_int_equal(sh_pg_lease_send(l, &slow, 1, SH_PG_BEGIN, on_flight, &g), SH_OK);
    pass_ms(50);
    sh_pg_lease_return(l);
    ask(&g, "SELECT 1");
    assert_int_equal(g.status, SH_OK);
    close_pool();
    free(text);
    /* the wrong name, the wrong password, no encryption */
    const char *const wrong[] = {
        "host=127.0.0.1 port=%d user=app password='it\\'s a secret' dbname=postgres sslmode=verify-full sslrootcert=%s/cert.pem",
        "host=localhost port=%d user=app password=guess dbname=postgres sslmode=verify-full sslrootcert=%s/cert.pem",
        "host=localhost port=%d user=app password='it\\'s a secret' dbname=postgres sslmode=disable options='-c search_path=%s'"};
    for (size_t i = 0; i < SH_ARRAY_LEN(wrong); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(conninfo, sizeof conninfo, wrong[i], server.port, server.folder);
#pragma GCC diagnostic pop
        open_pool((sh_pg_opts_t){.connections_max = 1, .conninfo = conninfo});
        ask(&g, "SELECT 1");
        assert_int_equal(g.status, SH_EUNAVAILABLE);
        close_pool();
    }
}

static void closing_waits_for_what_is_in_flight(void **state) {
    (void)state;
    got_t quick = {0}, slow = {0}, queued = {0};
    int closed = 0;
    open_pool((sh_pg_opts_t){.connections_max = 1, .shared_depth = 1});
    ask(&quick, "SELECT 1");
    query(&quick, "SELECT pg_sleep(0.2)");
    query(&queued, "SELECT 1");
    sh_pg_pool_close(pool, 5000, on_closed, &closed);
    run_until(&closed, 1);
    assert_int_equal(quick.status, SH_OK);
    assert_int_equal(quick.calls, 2);
    assert_int_equal(queued.status, SH_ECANCELED);
    /* but not for ever; a lease that is still out ends without a connection */
    open_pool((sh_pg_opts_t){.connections_max = 2});
    sh_pg_lease_t *l = lease();
    query(&slow, "SELECT pg_sleep(5)");
    for (int i = 0; i < 100 && !stats().shared; i++) pass_ms(20);
    pass_ms(30);
    sh_pg_pool_close(pool, 100, on_closed, &closed);
    run_until(&closed, 2);
    assert_int_equal(slow.status, SH_EMAYBE);
    sh_pg_lease_return(l);
}

static void idle_connections_are_closed_but_one(void **state) {
    (void)state;
    static got_t got[12];
    memset(got, 0, sizeof got);
    open_pool((sh_pg_opts_t){.connections_max = 4, .shared_depth = 1, .idle_ms_max = 200});
    for (int i = 0; i < 12; i++) query(&got[i], "SELECT pg_sleep(0.05)");
    for (int i = 0; i < 12; i++) run_until(&got[i].calls, 1);
    assert_true(stats().idle > 1);
    pass_ms(500);
    assert_int_equal(stats().idle, 1);
    close_pool();
}

/* ---- sessions */

typedef struct session_test {
    int ups, downs;
} session_test_t;
static void on_up(void *data, sh_pg_session_t *s) { (void)s, ((session_test_t *)data)->ups++; }
static void on_down(void *data, sh_pg_session_t *s) { (void)s, ((session_test_t *)data)->downs++; }

static void a_session_comes_back(void **state) {
    (void)state;
    session_test_t t = {0};
    got_t g = {0};
    int closed = 0;
    sh_pg_session_t *s;
    const sh_pg_opts_t opts = {.conninfo = server.conninfo, .name = "leader", .statement_ms_max = 2000};
    const sh_pg_statement_t lock = {SH_STR("SELECT pg_try_advisory_lock(7)"), 0, NULL},
                            quit = {SH_STR("SELECT pg_terminate_backend(pg_backend_pid())"), 0, NULL}, bad = {SH_STR("SELECT nothing"), 0, NULL},
                            listen = {SH_STR("LISTEN x"), 0, NULL};
    assert_int_equal(sh_pg_session_open(&loop, &opts, on_up, on_down, &t, &log_to, &s), SH_OK);
    assert_int_equal(sh_pg_session_query(s, &lock, on_rows, &g), SH_EUNAVAILABLE);
    for (int round = 1; round <= 3; round++) {
        run_until(&t.ups, round);
        g.calls = 0;
        assert_int_equal(sh_pg_session_query(s, &bad, on_rows, &g), SH_OK);
        assert_int_equal(sh_pg_session_query(s, &listen, on_rows, &g), SH_OK);
        assert_int_equal(sh_pg_session_query(s, &lock, on_rows, &g), SH_OK);
        run_until(&g.calls, 3);
        assert_string_equal(g.text, "t"); /* the lost session's lock is free */
        assert_int_equal(sh_pg_session_query(s, &quit, on_rows, &g), SH_OK);
        run_until(&g.calls, 4);
        assert_int_equal(g.status, SH_EMAYBE);
        assert_int_equal(t.downs, round);
    }
    sh_pg_session_close(s, on_closed, &closed);
    run_until(&closed, 1);
    /* closed while something is in flight */
    const sh_pg_statement_t slow = {SH_STR("SELECT pg_sleep(5)"), 0, NULL};
    assert_int_equal(sh_pg_session_open(&loop, &opts, on_up, on_down, &t, &log_to, &s), SH_OK);
    run_until(&t.ups, 4);
    assert_int_equal(sh_pg_session_query(s, &slow, on_rows, &g), SH_OK);
    pass_ms(30);
    sh_pg_session_close(s, on_closed, &closed);
    run_until(&closed, 2);
    assert_int_equal(g.status, SH_EMAYBE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(statements_share_connections, clean),
        cmocka_unit_test_setup(a_failed_statement_hurts_nobody_else, clean),
        cmocka_unit_test_setup(a_shared_flight_is_all_or_none, clean),
        cmocka_unit_test_setup(what_does_not_belong_on_a_shared_connection_is_refused, clean),
        cmocka_unit_test_setup(a_lease_is_a_transaction, clean),
        cmocka_unit_test_setup(a_failing_statement_fails_its_transaction, clean),
        cmocka_unit_test_setup(a_refused_commit_is_the_flights_failure, clean),
        cmocka_unit_test_setup(a_forgotten_transaction_is_rolled_back, clean),
        cmocka_unit_test_setup(a_lease_returned_in_flight_is_cancelled_at_the_server, clean),
        cmocka_unit_test_setup(more_tasks_than_connections_all_finish, clean),
        cmocka_unit_test_setup(with_one_connection_leases_and_statements_alternate, clean),
        cmocka_unit_test_setup(waits_are_bounded, clean),
        cmocka_unit_test_setup(a_slow_statement_times_out_at_the_server, clean),
        cmocka_unit_test_setup(a_server_that_stands_still_is_given_up, clean),
        cmocka_unit_test_setup(prepared_statements_are_bounded_and_recover, clean),
        cmocka_unit_test_setup(large_parameters_and_answers_pass, clean),
        cmocka_unit_test_setup(a_lost_connection_costs_what_was_in_flight, clean),
        cmocka_unit_test_setup(a_killed_server_comes_back, clean),
        cmocka_unit_test_setup(names_are_resolved_and_hosts_tried_in_turn, clean),
        cmocka_unit_test_setup(a_connection_can_be_encrypted_and_checked, clean),
        cmocka_unit_test_setup(closing_waits_for_what_is_in_flight, clean),
        cmocka_unit_test_setup(idle_connections_are_closed_but_one, clean),
        cmocka_unit_test_setup(a_session_comes_back, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
