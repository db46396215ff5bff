/* Proves against a real nats-server what becomes of an event by the outcome of its handler: acknowledged in batches, tried alone when its batch
 * failed, redelivered with a delay and buried once after its last try, held while the database is away, given back on closing, and resting while the
 * rules have no such subscription. The handler is a stand-in that decides by the payload; the rules are a manifest in a bundle. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "events/consumer.h"
#include "support/nats.h"

enum { WAIT_MS = 10000, PENDING_MAX = 64 };

/* A job that the handler has not finished yet. */
typedef struct pending {
    sh_consumer_done_fn fn;
    void *data;
} pending_t;

typedef struct fixture {
    uv_loop_t loop;
    sh_log_t log;
    sh_test_nats_t server;
    sh_nats_t *nats;
    sh_generation_t *generation, *without;
    sh_consumer_t *consumer;
    int published, closed;
    /* what the stand-in saw */
    int calls, events, largest, alone, burials, deliveries_max;
    char burial_error[128], burial_payload[64];
    /* how it behaves */
    bool is_slow, is_giving_back;
    int away; /* so many calls find no database */
    pending_t pending[PENDING_MAX];
    int pending_count;
} fixture_t;

static fixture_t *current; /* the handler has no data of its own, as the one of bind/ */

static const char *const SUBJECTS[] = {"quotation.*", NULL};
static const sh_nats_stream_t STREAM = {.name = "SHAMA_EVENTS", .subjects = SUBJECTS, .bytes_max = 1 << 26, .age_s_max = 3600};

static const char WITH[] = "return { name = \"inventory\", needs = {}, publishes = {}, refusals = {}, routes = {},\n"
                           "  events = { { \"quotation.approved\", function() end, batch = true, max_deliver = 3 } } }\n";
static const char WITHOUT[] = "return { name = \"inventory\", needs = {}, publishes = {}, refusals = {}, routes = {}, events = {} }\n";

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

static int handled(fixture_t *f) {
    sh_consumer_stats_t stats;
    sh_consumer_stats(f->consumer, &stats);
    return (int)stats.handled;
}

static bool run_until_handled(fixture_t *f, int least) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; handled(f) < least && uv_hrtime() < until;) run_once(f);
    return handled(f) == least;
}

static void on_published(void *data, int status, const char *reason) {
    (void)reason;
    assert_int_equal(status, 0);
    ((fixture_t *)data)->published++;
}

static void publish(fixture_t *f, const char *payload) {
    static int serial;
    char id[24];
    snprintf(id, sizeof(id), "id-%d", ++serial);
    const sh_nats_header_t header = {SH_STR("Nats-Msg-Id"), sh_str_of(id)};
    int before = f->published;
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.approved"), &header, 1, sh_str_of(payload), on_published, f), 0);
    assert_true(run_until(f, &f->published, before + 1));
}

/* "ok" succeeds; "bad" fails, and with it the batch that it is in. */
static void start(sh_vm_t *vm, const sh_subscription_t *subscription, sh_nats_msg_t *const *messages, uint32_t count, const char *burial_error,
                  sh_consumer_done_fn fn, void *data) {
    fixture_t *f = current;
    assert_string_equal(sh_vm_service(vm), "inventory");
    assert_true(subscription->batch);
    f->calls++;
    if (burial_error) {
        sh_str_t payload = sh_nats_msg_payload(messages[0]);
        assert_int_equal(count, 1);
        f->burials++;
        snprintf(f->burial_error, sizeof(f->burial_error), "%s", burial_error);
        snprintf(f->burial_payload, sizeof(f->burial_payload), "%.*s", (int)payload.len, payload.ptr);
        fn(data, 0, NULL);
        return;
    }
    bool is_bad = false;
    for (uint32_t i = 0; i < count; i++) {
        int deliveries = (int)sh_nats_msg_deliveries(messages[i]);
        is_bad |= sh_str_eq_c(sh_nats_msg_payload(messages[i]), "bad");
        if (deliveries > f->deliveries_max) f->deliveries_max = deliveries;
        if (deliveries > 1) assert_int_equal(count, 1); /* what was delivered before runs alone */
    }
    f->events += (int)count;
    if ((int)count > f->largest) f->largest = (int)count;
    if (count == 1) f->alone++;
    if (f->is_slow) {
        assert_true(f->pending_count < PENDING_MAX);
        f->pending[f->pending_count++] = (pending_t){fn, data};
    } else if (f->away > 0) {
        f->away--;
        fn(data, SH_EUNAVAILABLE, "no database");
    } else if (f->is_giving_back) {
        fn(data, SH_ECANCELED, NULL);
    } else {
        fn(data, is_bad ? SH_ELUA : 0, is_bad ? "rules/inventory/events.lua:7: it is bad" : NULL);
    }
}

static void finish_pending(fixture_t *f) {
    int count = f->pending_count;
    f->pending_count = 0;
    for (int i = 0; i < count; i++) f->pending[i].fn(f->pending[i].data, 0, NULL);
}

static void create_gathering_consumer(fixture_t *f, uint32_t batch, uint64_t gather_ms) {
    static const uint64_t delays[] = {150, 300};
    const sh_consumer_opts_t opts = {.service = "inventory",
                                     .stream = "SHAMA_EVENTS",
                                     .batch = batch,
                                     .gather_ms = gather_ms,
                                     .nak_delays_ms = delays,
                                     .nak_delay_count = 2,
                                     .start = start};
    const sh_manifest_t *manifest = sh_vm_manifest(f->generation->vms[0]);
    assert_int_equal(sh_consumer_create(f->nats, &opts, f->generation, &manifest->subscriptions[0], &f->log, &f->consumer), 0);
    assert_string_equal(sh_consumer_durable(f->consumer), "inventory-quotation_approved");
}

static void create_consumer(fixture_t *f, uint32_t batch) { create_gathering_consumer(f, batch, 0); }

static void on_closed(void *data) { ((fixture_t *)data)->closed++; }

/* --- life of a test --- */

static sh_generation_t *make_generation(fixture_t *f, const char *manifest) {
    const sh_bundle_source_t sources[] = {
        {.prefix = "lua/host/", .folder = SHAMA_SOURCE_DIR "/runtime/lua/host", .suffix = ".lua"},
        {.prefix = "rules/inventory/service.lua", .bytes = sh_str_of(manifest)},
    };
    sh_buf_t error = {0};
    sh_bundle_t *bundle = NULL;
    sh_vm_t *vm = NULL;
    if (sh_bundle_build(sources, 2, &bundle, &error) != 0) fail_msg("%s", sh_buf_c(&error));
    const sh_vm_opts_t opts = {.service = "inventory",
                               .bundle = bundle,
                               .loop = &f->loop,
                               .log = &f->log,
                               .budget = {.slice_ms = 50, .task_ms = 500, .memory_bytes = 64 << 20, .deadline_ms = 10000}};
    if (sh_vm_create(&opts, &vm, &error) != 0) fail_msg("%s", sh_buf_c(&error));
    int more;
    while ((more = sh_vm_load_step(vm, &error)) > 0) continue;
    if (more < 0) fail_msg("%s", sh_buf_c(&error));
    sh_generation_t *generation = sh_generation_create(bundle);
    generation->vms[generation->vm_count++] = vm;
    sh_bundle_release(bundle);
    sh_buf_dispose(&error);
    return generation;
}

static int setup(void **state) {
    fixture_t *f = current = sh_calloc(1, sizeof(*f));
    if (uv_loop_init(&f->loop) != 0 || sh_log_open(&f->log, NULL, getenv("VERBOSE") ? SH_LOG_DEBUG : SH_LOG_OFF, "test") != 0) return -1;
    if (sh_test_nats_start(&f->server, NULL) != 0) return -1;
    f->generation = make_generation(f, WITH);
    f->without = make_generation(f, WITHOUT);
    const sh_nats_opts_t opts = {.url = f->server.url, .streams = &STREAM, .stream_count = 1};
    if (sh_nats_open(&f->loop, &opts, &f->log, &f->nats) != 0) return -1;
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; !sh_nats_is_ready(f->nats) && uv_hrtime() < until;) run_once(f);
    *state = f;
    return sh_nats_is_ready(f->nats) ? 0 : -1;
}

static void close_consumer(fixture_t *f) {
    int closed = f->closed;
    sh_consumer_close(f->consumer, on_closed, f);
    f->consumer = NULL;
    assert_int_equal(f->closed, closed);
    finish_pending(f);
    assert_true(run_until(f, &f->closed, closed + 1));
}

static int teardown(void **state) {
    fixture_t *f = *state;
    if (f->consumer) close_consumer(f);
    int closed = f->closed;
    sh_nats_close(f->nats, on_closed, f);
    assert_true(run_until(f, &f->closed, closed + 1));
    sh_generation_release(f->generation);
    sh_generation_release(f->without);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&f->loop);
    sh_test_nats_stop(&f->server);
    sh_log_close(&f->log);
    free(f);
    return status;
}

/* --- the tests --- */

static void test_batches_are_acknowledged(void **state) {
    fixture_t *f = *state;
    for (int i = 0; i < 40; i++) publish(f, "ok");
    create_consumer(f, 16);
    assert_true(run_until_handled(f, 40));
    run_for(f, 300);
    assert_int_equal(f->events, 40);
    assert_true(f->largest > 1 && f->largest <= 16);
}

static void test_what_arrives_during_a_job_makes_the_next_batch(void **state) {
    fixture_t *f = *state;
    f->is_slow = true;
    create_consumer(f, 16);
    publish(f, "ok");
    assert_true(run_until(f, &f->calls, 1));
    for (int i = 0; i < 10; i++) publish(f, "ok");
    run_for(f, 200);
    assert_int_equal(f->calls, 1); /* one job at a time */
    f->is_slow = false;
    finish_pending(f);
    assert_true(run_until_handled(f, 11));
    assert_int_equal(f->calls, 2);
}

static void test_batches_fill_only_while_events_come_together(void **state) {
    fixture_t *f = *state;
    create_gathering_consumer(f, 16, 2 * WAIT_MS); /* who waited as long as that would be too late for run_until() */
    publish(f, "ok");
    assert_true(run_until_handled(f, 1)); /* alone: at once */
    f->is_slow = true;
    publish(f, "ok");
    assert_true(run_until(f, &f->calls, 2));
    for (int round = 0; round < 9; round++) { /* more at a time, so that the next ones are waited for a little longer each time */
        int calls = f->calls;
        for (int i = 0; i < 2; i++) publish(f, "ok");
        finish_pending(f);
        assert_true(run_until(f, &f->calls, calls + 1));
    }
    f->is_slow = false;
    finish_pending(f);
    int calls = f->calls, events = f->events;
    for (int i = 0; i < 3; i++) publish(f, "ok");
    assert_true(run_until(f, &f->events, events + 3));
    assert_int_equal(f->calls, calls + 1);
    assert_int_equal(f->largest, 3);
}

static void test_bad_event_is_retried_and_buried_once(void **state) {
    fixture_t *f = *state;
    publish(f, "ok");
    publish(f, "bad");
    publish(f, "ok");
    create_consumer(f, 16);
    assert_true(run_until_handled(f, 2)); /* the others do not wait for it */
    assert_int_equal(f->burials, 0);
    assert_true(run_until(f, &f->burials, 1));
    assert_int_equal(f->deliveries_max, 3);
    assert_string_equal(f->burial_payload, "bad");
    assert_string_equal(f->burial_error, "rules/inventory/events.lua:7: it is bad");
    run_for(f, 1000);
    assert_int_equal(f->burials, 1);
    assert_int_equal(handled(f), 2);
}

static void test_database_away_costs_no_try(void **state) {
    fixture_t *f = *state;
    f->away = 3;
    publish(f, "ok");
    publish(f, "ok");
    create_consumer(f, 16);
    assert_true(run_until_handled(f, 2));
    assert_true(f->calls >= 4);
    assert_int_equal(f->deliveries_max, 1);
}

static void test_event_without_outcome_is_buried_unread(void **state) {
    fixture_t *f = *state;
    f->is_giving_back = true; /* as if the process had ended each time */
    publish(f, "ok");
    create_consumer(f, 16);
    assert_true(run_until(f, &f->burials, 1));
    assert_int_equal(f->deliveries_max, 6); /* max_deliver and three more */
    assert_non_null(strstr(f->burial_error, "no outcome after 7 deliveries"));
}

static void test_close_waits_and_gives_back(void **state) {
    fixture_t *f = *state;
    f->is_slow = true;
    for (int i = 0; i < 6; i++) publish(f, "ok");
    create_consumer(f, 2);
    assert_true(run_until(f, &f->calls, 1));
    run_for(f, 200);
    int in_first = f->events;
    int closed = f->closed;
    sh_consumer_close(f->consumer, on_closed, f);
    f->consumer = NULL;
    run_for(f, 200);
    assert_int_equal(f->closed, closed); /* its job still runs */
    finish_pending(f);
    assert_true(run_until(f, &f->closed, closed + 1));
    f->is_slow = false;
    create_consumer(f, 16);
    assert_true(run_until_handled(f, 6 - in_first));
    run_for(f, 300);
    assert_int_equal(f->events, 6);
}

static void test_rests_without_subscription(void **state) {
    fixture_t *f = *state;
    create_consumer(f, 16);
    publish(f, "ok");
    assert_true(run_until_handled(f, 1));
    sh_consumer_use(f->consumer, f->without);
    publish(f, "ok");
    run_for(f, 400);
    assert_int_equal(handled(f), 1);
    sh_consumer_use(f->consumer, f->generation);
    assert_true(run_until_handled(f, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_batches_are_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_arrives_during_a_job_makes_the_next_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches_fill_only_while_events_come_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_event_is_retried_and_buried_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_database_away_costs_no_try, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_without_outcome_is_buried_unread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_waits_and_gives_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests_without_subscription, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
