/* Proves against a real Postgres and a real nats-server that the relay takes every committed outbox row to the broker once and marks it: woken at
 * once, in order per aggregate, with one leader at a time, over a lost session and a killed broker; that a bad row holds up no other; and that old
 * rows are deleted. What arrived is read back through a durable consumer. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "events/outbox_relay.h"
#include "support/nats.h"
#include "support/pg.h"

enum { WAIT_MS = 15000, AGGREGATES = 16 };

static sh_test_pg_t pg; /* one cluster for all tests; each starts with an empty table */

typedef struct fixture {
    uv_loop_t loop;
    sh_log_t log;
    sh_test_nats_t server;
    sh_nats_t *nats;
    sh_nats_consumer_t *consumer;
    sh_relay_t *relays[2];
    PGconn *connection;
    int wake_fd;
    int received, closed, disordered; /* received: a message of the stream counts once, however often it is delivered */
    uint64_t last_sequence;
    int last_of[AGGREGATES];
    char last_payload[64], last_id[40], last_correlation[40];
} fixture_t;

static const char *const SUBJECTS[] = {"quotation.*", NULL};
static const sh_nats_stream_t STREAM = {.name = "SHAMA_EVENTS", .subjects = SUBJECTS, .bytes_max = 1 << 26, .age_s_max = 3600};

/* --- helpers --- */

static void run_once(fixture_t *f) {
    uv_run(&f->loop, UV_RUN_NOWAIT);
    usleep(500);
}

static bool run_until(fixture_t *f, const int *value, int least) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; *value < least && uv_hrtime() < until;) run_once(f);
    return *value >= least;
}

static void run_for(fixture_t *f, uint64_t ms) {
    for (uint64_t until = uv_hrtime() + ms * 1000000ull; uv_hrtime() < until;) run_once(f);
}

static bool run_until_nats(fixture_t *f, bool is_ready) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; sh_nats_is_ready(f->nats) != is_ready && uv_hrtime() < until;) run_once(f);
    return sh_nats_is_ready(f->nats) == is_ready;
}

static bool leads(fixture_t *f, int index) {
    sh_relay_stats_t stats;
    sh_relay_stats(f->relays[index], &stats);
    return stats.is_leader;
}

static bool run_until_leader(fixture_t *f, int index) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; !leads(f, index) && uv_hrtime() < until;) run_once(f);
    return leads(f, index);
}

static void sql(fixture_t *f, const char *text) {
    PGresult *result = PQexec(f->connection, text);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail_msg("%s: %s", text, PQerrorMessage(f->connection));
    PQclear(result);
}

static int count(fixture_t *f, const char *where) {
    char text[256];
    snprintf(text, sizeof(text), "SELECT count(*) FROM sales.outbox WHERE %s", where);
    PGresult *result = PQexec(f->connection, text);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    int rows = atoi(PQgetvalue(result, 0, 0));
    PQclear(result);
    return rows;
}

static bool run_until_marked(fixture_t *f, int rows) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; uv_hrtime() < until; run_for(f, 20))
        if (count(f, "published_at IS NOT NULL") == rows) return true;
    return false;
}

/* `n` rows with payloads "1".."n" and aggregates "0".."15" in turn. */
static void insert(fixture_t *f, int n) {
    char text[512];
    snprintf(text, sizeof(text),
             "INSERT INTO sales.outbox (event_id, subject, aggregate, headers, payload) SELECT gen_random_uuid(), 'quotation.approved', "
             "(i %% %d)::text, jsonb_build_object('Shama-Type', 'QuotationApprovedEvent', 'Shama-Correlation-Id', 'request-' || i), "
             "convert_to(i::text, 'UTF8') FROM generate_series(1, %d) AS i",
             AGGREGATES, n);
    sql(f, text);
}

static void wake(const fixture_t *f) {
    uint64_t one = 1;
    assert_int_equal(write(f->wake_fd, &one, sizeof(one)), sizeof(one));
}

static void copy(char *out, size_t size, sh_str_t text) { snprintf(out, size, "%.*s", (int)text.len, text.ptr ? text.ptr : ""); }

static void on_messages(void *data, sh_nats_msg_t *const *messages, uint32_t n) {
    fixture_t *f = data;
    for (uint32_t i = 0; i < n; i++) {
        if (sh_nats_msg_sequence(messages[i]) <= f->last_sequence) { /* a killed broker may forget our acks */
            sh_nats_ack(messages[i]);
            continue;
        }
        f->last_sequence = sh_nats_msg_sequence(messages[i]);
        f->received++;
        copy(f->last_payload, sizeof(f->last_payload), sh_nats_msg_payload(messages[i]));
        copy(f->last_id, sizeof(f->last_id), sh_nats_msg_header(messages[i], "Nats-Msg-Id"));
        copy(f->last_correlation, sizeof(f->last_correlation), sh_nats_msg_header(messages[i], "Shama-Correlation-Id"));
        int number = atoi(f->last_payload), aggregate = number % AGGREGATES;
        if (number < f->last_of[aggregate]) f->disordered++;
        f->last_of[aggregate] = number;
        sh_nats_ack(messages[i]);
    }
}

static sh_relay_t *create_relay(fixture_t *f, uint64_t poll_ms, uint32_t keep_days) {
    const sh_relay_opts_t opts = {
        .schema = "sales",
        .session = {.conninfo = pg.conninfo,
                    .name = "sales",
                    .connections_max = 1,
                    .shared_depth = 8,
                    .waiting_max = 100,
                    .wait_ms_max = 2000,
                    .statement_ms_max = 5000,
                    .idle_ms_max = 30000,
                    .connect_ms_max = 2000,
                    .prepared_max = 16},
        .nats = f->nats,
        .wake_fd = f->wake_fd,
        .poll_ms = poll_ms,
        .keep_days = keep_days,
    };
    sh_relay_t *relay;
    assert_int_equal(sh_relay_create(&f->loop, &opts, &f->log, &relay), 0);
    return relay;
}

static void on_closed(void *data) { ((fixture_t *)data)->closed++; }

static void close_relay(fixture_t *f, int index) {
    int closed = f->closed;
    sh_relay_close(f->relays[index], on_closed, f);
    f->relays[index] = NULL;
    assert_int_equal(f->closed, closed);
    assert_true(run_until(f, &f->closed, closed + 1));
}

/* --- life of a test --- */

static int setup_all(void **state) {
    (void)state;
    return sh_test_pg_start(&pg);
}

static int teardown_all(void **state) {
    (void)state;
    sh_test_pg_stop(&pg);
    return 0;
}

static int setup(void **state) {
    fixture_t *f = sh_calloc(1, sizeof(*f));
    if (uv_loop_init(&f->loop) != 0 || sh_log_open(&f->log, NULL, getenv("VERBOSE") ? SH_LOG_DEBUG : SH_LOG_OFF, "test") != 0) return -1;
    if (sh_test_nats_start(&f->server, NULL) != 0) return -1;
    f->connection = PQconnectdb(pg.conninfo);
    if (PQstatus(f->connection) != CONNECTION_OK) return -1;
    f->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sql(f, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS sales CASCADE; CREATE SCHEMA sales; CREATE TABLE sales.outbox (id bigint "
           "GENERATED ALWAYS AS "
           "IDENTITY PRIMARY KEY, event_id uuid NOT NULL UNIQUE, subject text NOT NULL, aggregate text NOT NULL, headers jsonb NOT NULL, "
           "payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), published_at timestamptz); "
           "CREATE INDEX outbox_waiting ON sales.outbox (id) WHERE published_at IS NULL");
    const sh_nats_opts_t opts = {.url = f->server.url, .streams = &STREAM, .stream_count = 1, .timeout_ms = 3000};
    if (sh_nats_open(&f->loop, &opts, &f->log, &f->nats) != 0) return -1;
    const sh_nats_consumer_opts_t consumer = {.stream = "SHAMA_EVENTS", .durable = "test", .filter_subject = "quotation.approved"};
    if (sh_nats_consume(f->nats, &consumer, on_messages, f, &f->consumer) != 0) return -1;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_t *f = *state;
    for (int i = 0; i < 2; i++)
        if (f->relays[i]) close_relay(f, i);
    int closed = f->closed;
    sh_nats_close(f->nats, on_closed, f);
    assert_true(run_until(f, &f->closed, closed + 1));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&f->loop);
    close(f->wake_fd);
    PQfinish(f->connection);
    sh_test_nats_stop(&f->server);
    sh_log_close(&f->log);
    free(f);
    return status;
}

/* --- the tests --- */

static void test_rows_arrive_once_in_order_and_are_marked(void **state) {
    fixture_t *f = *state;
    insert(f, 1000);
    f->relays[0] = create_relay(f, 200, 0);
    assert_true(run_until(f, &f->received, 1000));
    assert_true(run_until_marked(f, 1000));
    run_for(f, 300);
    assert_int_equal(f->received, 1000);
    assert_int_equal(f->disordered, 0);
    assert_string_equal(f->last_payload, "1000");
    assert_string_equal(f->last_correlation, "request-1000");
    char where[96];
    snprintf(where, sizeof(where), "event_id = '%s' AND aggregate = '8'", f->last_id);
    assert_int_equal(count(f, where), 1);
}

static void test_wake_is_immediate(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 10000, 0); /* no poll comes to help */
    assert_true(run_until_leader(f, 0) && run_until_nats(f, true));
    run_for(f, 300);
    for (int i = 1; i <= 5; i++) {
        uint64_t since = uv_hrtime();
        insert(f, 1);
        wake(f);
        assert_true(run_until(f, &f->received, i));
        assert_true(uv_hrtime() - since < 500 * 1000000ull);
        run_for(f, 30);
    }
    assert_true(run_until_marked(f, 5));
    for (int i = 0; i < 100; i++) { /* a row that is committed while a batch is out is found too */
        insert(f, 1);
        sh_relay_wake(f->relays[0]);
        run_once(f);
    }
    assert_true(run_until(f, &f->received, 105));
}

static void test_poll_finds_what_nobody_told(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 100, 0);
    assert_true(run_until_leader(f, 0));
    run_for(f, 300);
    insert(f, 1);
    assert_true(run_until(f, &f->received, 1));
}

static void test_one_leader_and_succession(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 100, 0);
    assert_true(run_until_leader(f, 0));
    int wake_fd = f->wake_fd;
    f->wake_fd = -1; /* a loop can watch a descriptor once; in life the second one is another process */
    f->relays[1] = create_relay(f, 100, 0);
    f->wake_fd = wake_fd;
    insert(f, 100);
    assert_true(run_until(f, &f->received, 100));
    assert_false(leads(f, 1));
    close_relay(f, 0);
    insert(f, 100);
    memset(f->last_of, 0, sizeof(f->last_of));
    assert_true(run_until(f, &f->received, 200));
    assert_true(leads(f, 1));
    assert_true(run_until_marked(f, 200));
}

static void test_lost_session(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 100, 0);
    for (int i = 0; i < 5; i++) {
        insert(f, 200);
        run_for(f, 60);
        sql(f, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()");
    }
    assert_true(run_until(f, &f->received, 1000));
    assert_true(run_until_marked(f, 1000));
    run_for(f, 500);
    assert_int_equal(f->received, 1000); /* what was sent twice the broker has dropped */
}

static void test_database_killed_and_back(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 100, 0);
    insert(f, 500);
    assert_true(run_until(f, &f->received, 1));
    sh_test_pg_kill(&pg, SIGQUIT);
    run_for(f, 500);
    assert_false(leads(f, 0));
    assert_int_equal(sh_test_pg_restart(&pg), 0);
    PQreset(f->connection);
    assert_true(run_until(f, &f->received, 500));
    assert_true(run_until_marked(f, 500));
    run_for(f, 300);
    assert_int_equal(f->received, 500);
}

static void test_broker_down(void **state) {
    fixture_t *f = *state;
    f->relays[0] = create_relay(f, 100, 0);
    insert(f, 50);
    assert_true(run_until(f, &f->received, 50));
    assert_true(run_until_marked(f, 50));
    sh_test_nats_kill(&f->server, SIGKILL);
    insert(f, 50);
    wake(f);
    assert_true(run_until_nats(f, false));
    run_for(f, 500);
    assert_int_equal(count(f, "published_at IS NULL"), 50);
    memset(f->last_of, 0, sizeof(f->last_of));
    assert_int_equal(sh_test_nats_restart(&f->server, NULL), 0);
    assert_true(run_until(f, &f->received, 100));
    assert_true(run_until_marked(f, 100));
    run_for(f, 300);
    assert_int_equal(f->received, 100);
}

static void test_bad_rows_hold_up_no_other(void **state) {
    fixture_t *f = *state;
    sql(f, "INSERT INTO sales.outbox (event_id, subject, aggregate, headers, payload) VALUES "
           "(gen_random_uuid(), 'has space', 'x', '{}', ''), (gen_random_uuid(), 'quotation.x', 'y', '[1]', ''), "
           "(gen_random_uuid(), 'unknown.subject', 'z', '{}', '')");
    f->relays[0] = create_relay(f, 100, 0);
    insert(f, 20);
    assert_true(run_until(f, &f->received, 20));
    assert_true(run_until_marked(f, 20));
    assert_int_equal(count(f, "published_at IS NULL"), 3); /* they wait for somebody who repairs them */
    sh_relay_stats_t stats;
    sh_relay_stats(f->relays[0], &stats);
    assert_int_equal(stats.refused, 3);
}

static void test_old_rows_are_deleted(void **state) {
    fixture_t *f = *state;
    insert(f, 10);
    sql(f, "UPDATE sales.outbox SET published_at = now() - interval '8 days' WHERE id <= 6");
    sql(f, "UPDATE sales.outbox SET published_at = now() - interval '6 days' WHERE id IN (7, 8)");
    f->relays[0] = create_relay(f, 100, 7);
    assert_true(run_until(f, &f->received, 2));
    for (int i = 0; i < 50 && count(f, "true") != 4; i++) run_for(f, 100);
    assert_int_equal(count(f, "true"), 4);
    assert_int_equal(count(f, "id <= 6"), 0);
}

static void test_close_with_a_batch_out(void **state) {
    fixture_t *f = *state;
    assert_true(run_until_nats(f, true));
    f->relays[0] = create_relay(f, 100, 0);
    insert(f, 1000);
    assert_true(run_until(f, &f->received, 1));
    close_relay(f, 0);
    run_for(f, 300);
    int marked = count(f, "published_at IS NOT NULL");
    assert_true(marked > 0);
    assert_int_equal(marked, f->received); /* what was acknowledged is marked, although it closed in between */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_arrive_once_in_order_and_are_marked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wake_is_immediate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_finds_what_nobody_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_leader_and_succession, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_database_killed_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broker_down, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_rows_hold_up_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_rows_are_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_with_a_batch_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
