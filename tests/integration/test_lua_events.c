/* Proves the whole way of an event into a rule, with a real broker and a real database: decoded, handled in one transaction with its inbox row, once
 * however often it comes; a bad one is tried alone, leaves nothing, and ends as one dead letter in the outbox. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bind/lua_context.h"
#include "bind/lua_db.h"
#include "bind/lua_events.h"
#include "events/consumer.h"
#include "support/nats.h"
#include "support/pg.h"

enum { WAIT_MS = 15000, FILE_MAX = 1 << 20 };

static sh_test_pg_t pg;

typedef struct fixture {
    uv_loop_t loop;
    sh_log_t log;
    sh_test_nats_t server;
    sh_nats_t *nats;
    sh_pg_pool_t *pool;
    sh_protobuf_t *protobuf;
    sh_uuid_source_t *uuids;
    sh_lua_clock_t clock;
    sh_lua_context_t context;
    sh_generation_t *generation;
    sh_consumer_t *consumer;
    PGconn *connection;
    int published, closed;
} fixture_t;

static const char *const SUBJECTS[] = {"quotation.*", NULL};
static const sh_nats_stream_t STREAM = {.name = "SHAMA_EVENTS", .subjects = SUBJECTS, .bytes_max = 1 << 26, .age_s_max = 3600};

/* What the handler does besides noting its effect is said by the quotation's id. `runs` is a sequence, which no rollback takes back. */
static const char SERVICE[] = "local kept\n"
                              "local function note(tx, event, id)\n"
                              "  tx:write(\"INSERT INTO inventory.effects (event_id, quotation_id, correlation_id) VALUES ($1, $2, $3)\",\n"
                              "    event.id, id, event.correlation_id)\n"
                              "end\n"
                              "local special = {\n"
                              "  bad = function(tx, event) error(\"it is bad\") end,\n"
                              "  read = function(tx, event) tx:query(\"SELECT nextval('inventory.runs')\") end,\n"
                              "  swallow = function(tx, event) pcall(tx.query, tx, \"SELECT nextval('inventory.runs')\") end,\n"
                              "  bad_read = function(tx, event) tx:query(\"SELECT nextval('inventory.runs')\"); error(\"it is bad\") end,\n"
                              "  slow = function(tx, event) tx:query(\"SELECT pg_sleep(0.5)\") end,\n"
                              "  unset = function(tx, event) note(tx, event, \"[\" .. event.payload.customer_id .. \"]\") end,\n"
                              "  other = function(tx, event) note(tx, event, event.payload.number) end,\n"
                              "  keep = function(tx, event) kept = event end,\n"
                              "  ask = function(tx, event) note(tx, event, kept.headers[\"Shama-Type\"]) end,\n"
                              "  head = function(tx, event) note(tx, event, event.headers[\"Shama-Type\"] .. \" \" .. event.type .. \" \" .. \n"
                              "    tostring(event.headers == event.headers and event.timestamp > 0) .. \" \" .. tostring(event.nothing)) end,\n"
                              "}\n"
                              "local function on_approved(tx, events)\n"
                              "  for _, event in ipairs(events) do\n"
                              "    local id = event.payload.quotation_id\n"
                              "    note(tx, event, id)\n"
                              "    if special[id] then special[id](tx, event) end\n"
                              "  end\n"
                              "end\n"
                              "local db = require \"shama.db\"\n"
                              "return { name = \"inventory\", needs = { \"db\" }, publishes = {}, refusals = {}, routes = {},\n"
                              "  events = { { \"quotation.approved\", on_approved, batch = true, max_deliver = 2,\n"
                              "    fields = { \"quotation_id\", \"customer_id\" } } } }\n";

static const char SCHEMA[] =
    "SET client_min_messages = warning; DROP SCHEMA IF EXISTS inventory CASCADE; CREATE SCHEMA inventory;"
    "CREATE SEQUENCE inventory.runs;"
    "CREATE TABLE inventory.effects (event_id uuid NOT NULL, quotation_id text NOT NULL, correlation_id text NOT NULL);"
    "CREATE TABLE inventory.inbox (consumer text, event_id uuid, processed_at timestamptz NOT NULL, PRIMARY KEY (consumer, event_id));"
    "CREATE TABLE inventory.outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL UNIQUE, subject text NOT NULL, "
    "aggregate text NOT NULL, headers jsonb NOT NULL, payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), published_at "
    "timestamptz)";

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

static const char *ask(fixture_t *f, const char *text) {
    static char answer[512];
    PGresult *result = PQexec(f->connection, text);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail_msg("%s: %s", text, PQerrorMessage(f->connection));
    snprintf(answer, sizeof(answer), "%s", status == PGRES_TUPLES_OK && PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return answer;
}

static bool run_until_answer(fixture_t *f, const char *text, const char *wanted) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; uv_hrtime() < until; run_for(f, 20))
        if (strcmp(ask(f, text), wanted) == 0) return true;
    return false;
}

static void on_published(void *data, int status, const char *reason) {
    (void)reason;
    assert_int_equal(status, 0);
    ((fixture_t *)data)->published++;
}

/* A QuotationApprovedEvent with a quotation_id and nothing else: field 1, a string. */
static void publish(fixture_t *f, const char *event_id, const char *msg_id, const char *quotation_id) {
    char payload[64];
    int len = snprintf(payload, sizeof(payload), "\x0a%c%s", (int)strlen(quotation_id), quotation_id), before = f->published;
    const sh_nats_header_t headers[] = {
        {SH_STR("Nats-Msg-Id"), sh_str_of(msg_id ? msg_id : event_id)},
        {SH_STR("Shama-Correlation-Id"), SH_STR("request-1")},
        {SH_STR("Shama-Type"), SH_STR("QuotationApprovedEvent")},
    };
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.approved"), headers, 3, sh_str(payload, (size_t)len), on_published, f), 0);
    assert_true(run_until(f, &f->published, before + 1));
}

static sh_str_t read_file(const char *path) {
    char *bytes = sh_alloc(FILE_MAX);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s cannot be read", path);
    size_t len = fread(bytes, 1, FILE_MAX, file);
    fclose(file);
    return sh_str(bytes, len);
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

static void load_protobuf(fixture_t *f) {
    char path[96], command[512], error[256];
    snprintf(path, sizeof(path), "%s/descriptors.bin", f->server.folder);
    snprintf(command, sizeof(command), "protoc --descriptor_set_out=%s --include_imports -I %s/config/proto %s/config/proto/*.proto", path,
             SHAMA_SOURCE_DIR, SHAMA_SOURCE_DIR);
    assert_int_equal(system(command), 0);
    sh_str_t descriptors = read_file(path);
    if (sh_protobuf_create(descriptors, &f->protobuf, error, sizeof(error)) != 0) fail_msg("%s", error);
    free((void *)descriptors.ptr);
}

static void make_generation(fixture_t *f) {
    sh_str_t consumer = read_file(SHAMA_SOURCE_DIR "/runtime/lua/shama/consumer.lua"), db = read_file(SHAMA_SOURCE_DIR "/runtime/lua/shama/db.lua");
    const sh_bundle_source_t sources[] = {
        {.prefix = "lua/host/", .folder = SHAMA_SOURCE_DIR "/runtime/lua/host", .suffix = ".lua"},
        {.prefix = "lua/shama/consumer.lua", .bytes = consumer},
        {.prefix = "lua/shama/db.lua", .bytes = db},
        {.prefix = "rules/inventory/service.lua", .bytes = sh_str_of(SERVICE)},
    };
    const sh_primitive_t primitives[] = {{.name = "db", .open = sh_lua_db_open}};
    sh_buf_t error = {0};
    sh_bundle_t *bundle = NULL;
    sh_vm_t *vm = NULL;
    f->context = (sh_lua_context_t){.service = "inventory", .pool = f->pool, .protobuf = f->protobuf, .uuids = f->uuids, .clock = &f->clock};
    if (sh_bundle_build(sources, SH_ARRAY_LEN(sources), &bundle, &error) != 0) fail_msg("%s", sh_buf_c(&error));
    const sh_vm_opts_t opts = {
        .service = "inventory",
        .bundle = bundle,
        .primitives = primitives,
        .primitive_count = 1,
        .loop = &f->loop,
        .log = &f->log,
        .user = &f->context,
        .budget = {.slice_ms = 200,
                   .task_ms = 1000,
                   .memory_bytes = 64 << 20,
                   .statements_max = 100,
                   .rows_max = 1000,
                   .events_max = 100,
                   .deadline_ms = 10000},
    };
    if (sh_vm_create(&opts, &vm, &error) != 0) fail_msg("%s", sh_buf_c(&error));
    int more;
    while ((more = sh_vm_load_step(vm, &error)) > 0) continue;
    if (more < 0) fail_msg("%s", sh_buf_c(&error));
    f->generation = sh_generation_create(bundle);
    f->generation->vms[f->generation->vm_count++] = vm;
    sh_bundle_release(bundle);
    sh_buf_dispose(&error);
    free((void *)consumer.ptr);
    free((void *)db.ptr);
}

static int setup(void **state) {
    fixture_t *f = sh_calloc(1, sizeof(*f));
    if (uv_loop_init(&f->loop) != 0 || sh_log_open(&f->log, NULL, getenv("VERBOSE") ? SH_LOG_DEBUG : SH_LOG_OFF, "test") != 0) return -1;
    if (sh_test_nats_start(&f->server, NULL) != 0) return -1;
    f->connection = PQconnectdb(pg.conninfo);
    ask(f, SCHEMA);
    const sh_pg_opts_t pg_opts = {.conninfo = pg.conninfo,
                                  .name = "inventory",
                                  .connections_max = 4,
                                  .shared_depth = 8,
                                  .waiting_max = 100,
                                  .wait_ms_max = 2000,
                                  .statement_ms_max = 5000,
                                  .idle_ms_max = 30000,
                                  .connect_ms_max = 2000,
                                  .prepared_max = 64};
    if (sh_pg_pool_create(&f->loop, &pg_opts, &f->log, &f->pool) != 0) return -1;
    f->uuids = sh_uuid_source_create();
    load_protobuf(f);
    make_generation(f);
    const sh_nats_opts_t opts = {.url = f->server.url, .streams = &STREAM, .stream_count = 1};
    if (sh_nats_open(&f->loop, &opts, &f->log, &f->nats) != 0) return -1;
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; !(sh_nats_is_ready(f->nats) && sh_pg_pool_is_ready(f->pool)) && uv_hrtime() < until;)
        run_once(f);
    *state = f;
    return 0;
}

static void on_closed(void *data) { ((fixture_t *)data)->closed++; }

static void create_consumer(fixture_t *f) {
    static const uint64_t delays[] = {100};
    const sh_consumer_opts_t opts = {
        .service = "inventory", .stream = "SHAMA_EVENTS", .nak_delays_ms = delays, .nak_delay_count = 1, .start = sh_lua_events_start};
    assert_int_equal(
        sh_consumer_create(f->nats, &opts, f->generation, &sh_vm_manifest(f->generation->vms[0])->subscriptions[0], &f->log, &f->consumer), 0);
}

static int teardown(void **state) {
    fixture_t *f = *state;
    int expected = 0;
    if (f->consumer) {
        sh_consumer_close(f->consumer, on_closed, f);
        assert_true(run_until(f, &f->closed, ++expected));
    }
    sh_nats_close(f->nats, on_closed, f);
    assert_true(run_until(f, &f->closed, ++expected));
    sh_generation_release(f->generation);
    sh_pg_pool_close(f->pool, 1000, on_closed, f);
    assert_true(run_until(f, &f->closed, ++expected));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&f->loop);
    sh_protobuf_destroy(f->protobuf);
    sh_uuid_source_destroy(f->uuids);
    PQfinish(f->connection);
    sh_test_nats_stop(&f->server);
    sh_log_close(&f->log);
    free(f);
    return status;
}

/* --- the tests --- */

static const char A[] = "0198d3f0-0000-7000-8000-00000000000a", B[] = "0198d3f0-0000-7000-8000-00000000000b",
                  C[] = "0198d3f0-0000-7000-8000-00000000000c";

/* The effect can be seen before the consumer has heard of its COMMIT. */
static void assert_handled(fixture_t *f, uint64_t count) {
    sh_consumer_stats_t stats = {0};
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; stats.handled < count && uv_hrtime() < until; run_for(f, 20))
        sh_consumer_stats(f->consumer, &stats);
    assert_int_equal(stats.handled, count);
    assert_int_equal(stats.failed, 0);
}

static void test_handled_once_in_a_transaction(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "q1");
    publish(f, B, NULL, "q2");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id || ' ' || correlation_id, ',' ORDER BY quotation_id) FROM inventory.effects",
                                 "q1 request-1,q2 request-1"));
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.inbox WHERE consumer = 'inventory-quotation_approved'"), "2");
    assert_handled(f, 2);
}

static void test_known_event_changes_nothing(void **state) {
    fixture_t *f = *state;
    ask(f, "INSERT INTO inventory.inbox VALUES ('inventory-quotation_approved', '0198d3f0-0000-7000-8000-00000000000a', now())");
    publish(f, A, NULL, "q1");
    publish(f, "0198D3F0-0000-7000-8000-00000000000B", NULL, "q2"); /* ids are the same in either case */
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id, ',') FROM inventory.effects", "q2"));
    run_for(f, 200);
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.effects"), "1");
}

/* The known event is met by the handler's first read, or by one whose failure the handler swallows. */
static void test_known_event_in_a_batch_that_reads(void **state) {
    fixture_t *f = *state;
    ask(f, "INSERT INTO inventory.inbox VALUES ('inventory-quotation_approved', '0198d3f0-0000-7000-8000-00000000000a', now())");
    publish(f, B, NULL, "read");
    publish(f, A, NULL, "q1");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id, ',') FROM inventory.effects", "read"));
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.inbox"), "2");
    assert_string_equal(ask(f, "SELECT last_value FROM inventory.runs"), "1");
}

static void test_known_event_whose_failure_is_swallowed(void **state) {
    fixture_t *f = *state;
    ask(f, "INSERT INTO inventory.inbox VALUES ('inventory-quotation_approved', '0198d3f0-0000-7000-8000-00000000000a', now())");
    publish(f, A, NULL, "swallow");
    create_consumer(f);
    assert_handled(f, 1);
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.effects"), "0");
}

static void test_event_twice_in_a_batch_counts_once(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "q1");
    publish(f, "0198D3F0-0000-7000-8000-00000000000A", NULL, "q1"); /* the broker takes it for another */
    publish(f, B, NULL, "q2");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id, ',' ORDER BY quotation_id) FROM inventory.effects", "q1,q2"));
    run_for(f, 200);
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.effects"), "2");
}

/* A handler that fails for a reason of its own runs once a try: it is not taken for one that met a known event. */
static void test_failing_handler_runs_once_a_try(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "bad_read");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.outbox", "1"));
    assert_string_equal(ask(f, "SELECT last_value FROM inventory.runs"), "2");
    assert_non_null(strstr(ask(f, "SELECT headers->>'Shama-Error' FROM inventory.outbox"), "it is bad"));
}

static void test_headers_are_there_when_asked_for(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "head");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT quotation_id FROM inventory.effects WHERE quotation_id <> 'head'",
                                 "QuotationApprovedEvent QuotationApprovedEvent true nil"));
}

static void test_headers_end_with_the_handler(void **state) {
    fixture_t *f = *state;
    create_consumer(f);
    publish(f, A, NULL, "keep");
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.effects", "1"));
    publish(f, B, NULL, "ask");
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.outbox", "1"));
    assert_non_null(
        strstr(ask(f, "SELECT headers->>'Shama-Error' FROM inventory.outbox"), "an event's headers can be asked for only while its handler runs"));
}

/* The subscription names two fields: an unset one of them is the default, another one is no silent nil. */
static void test_fields_that_are_not_named_are_not_read(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "unset");
    publish(f, B, NULL, "other");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id, ',' ORDER BY quotation_id COLLATE \"C\") FROM inventory.effects", "[],unset"));
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.outbox", "1"));
    assert_non_null(strstr(ask(f, "SELECT headers->>'Shama-Error' FROM inventory.outbox"), "the payload's \"number\" was not decoded"));
}

static void test_bad_event_becomes_one_dead_letter(void **state) {
    fixture_t *f = *state;
    publish(f, A, NULL, "q1");
    publish(f, B, NULL, "bad");
    publish(f, C, NULL, "q3");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT string_agg(quotation_id, ',' ORDER BY quotation_id) FROM inventory.effects", "q1,q3"));
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.outbox", "1"));
    assert_string_equal(ask(f, "SELECT subject || ' ' || aggregate || ' ' || encode(payload, 'hex') FROM inventory.outbox"),
                        "quotation.approved.failed 0198d3f0-0000-7000-8000-00000000000b 0a03626164");
    assert_string_equal(ask(f, "SELECT (headers->>'Shama-Deliveries') || ' ' || (headers->>'Shama-Correlation-Id') || ' ' || "
                               "(headers->>'Shama-Type') FROM inventory.outbox"),
                        "2 request-1 QuotationApprovedEvent");
    assert_non_null(strstr(ask(f, "SELECT headers->>'Shama-Error' FROM inventory.outbox"), "rules/inventory/service.lua:7: it is bad"));
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.inbox"), "3");
    run_for(f, 400);
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.outbox"), "1");
}

static void test_undecodable_event_becomes_a_dead_letter(void **state) {
    fixture_t *f = *state;
    const sh_nats_header_t header = {SH_STR("Nats-Msg-Id"), sh_str_of(A)};
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.approved"), &header, 1, SH_STR("\x0a\x7f"), on_published, f), 0);
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT headers->>'Shama-Error' FROM inventory.outbox", "the payload is no shama.events.QuotationApprovedEvent"));
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.effects"), "0");
}

static void test_event_without_uuid_is_handled_once(void **state) {
    fixture_t *f = *state;
    publish(f, NULL, "somebody-elses-id", "q1");
    create_consumer(f);
    assert_true(run_until_answer(f, "SELECT event_id || ' ' || quotation_id FROM inventory.effects", "00000000-0000-8000-8000-000000000001 q1"));
}

/* The connection is lost between the flight with the inbox row and the one with COMMIT: nothing is kept, and the second try does it all. */
static void test_connection_lost_in_the_middle(void **state) {
    fixture_t *f = *state;
    create_consumer(f);
    publish(f, A, NULL, "slow");
    assert_true(run_until_answer(f, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.5)%' AND wait_event = 'PgSleep'", "1"));
    assert_string_equal(ask(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), "t");
    run_for(f, 100);
    assert_string_equal(ask(f, "SELECT count(*) FROM inventory.inbox"), "0");
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.effects", "1"));
    run_for(f, 200);
    assert_string_equal(ask(f, "SELECT (SELECT count(*) FROM inventory.effects) || ' ' || (SELECT count(*) FROM inventory.inbox)"), "1 1");
    assert_handled(f, 1);
}

/* The database dies and comes back: the event is held meanwhile and costs none of its two tries. */
static void test_database_killed_and_back(void **state) {
    fixture_t *f = *state;
    create_consumer(f);
    publish(f, A, NULL, "q1");
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.effects", "1"));
    sh_test_pg_kill(&pg, SIGQUIT);
    publish(f, B, NULL, "q2");
    publish(f, C, NULL, "q3");
    run_for(f, 1500);
    assert_int_equal(sh_test_pg_restart(&pg), 0);
    PQreset(f->connection);
    assert_true(run_until_answer(f, "SELECT count(*) FROM inventory.effects", "3"));
    assert_handled(f, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handled_once_in_a_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_event_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_event_in_a_batch_that_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_event_whose_failure_is_swallowed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_twice_in_a_batch_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_handler_runs_once_a_try, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers_are_there_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers_end_with_the_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields_that_are_not_named_are_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_event_becomes_one_dead_letter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_undecodable_event_becomes_a_dead_letter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_without_uuid_is_handled_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connection_lost_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_database_killed_and_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
