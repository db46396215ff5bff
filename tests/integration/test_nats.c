/* Proves against a real nats-server that events are published with the broker's ack, deduplicated, consumed, redelivered, and survive a killed
 * broker; that a conflicting stream and a full one are told clearly; and that closing with work in flight leaves nothing behind (run with ASan).
 * Each test starts a server of its own and drives the loop until the expected thing has happened or ten seconds have passed. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "net/nats_internal.h"
#include "support/nats.h"

enum { WAIT_MS = 10000, MESSAGES_MAX = 4096 };

typedef struct fixture {
    uv_loop_t loop;
    sh_log_t log;
    sh_test_nats_t server;
    sh_nats_t *nats;
    sh_nats_consumer_t *consumer;
    int acked, failed, last_status, closed;
    char last_reason[128];
    int received, calls, largest;
    uint32_t last_deliveries;
    char last_payload[64];
    sh_nats_msg_t *kept[MESSAGES_MAX];
    int kept_count;
    enum { ACK, KEEP, NAK_FIRST } mode;
} fixture_t;

static const char *const SUBJECTS[] = {"quotation.*", "stock.*", NULL};
static const char *const FAILED[] = {"*.*.failed", NULL};
static const sh_nats_stream_t STREAMS[] = {
    {.name = "SHAMA_EVENTS", .subjects = SUBJECTS, .bytes_max = 1 << 26, .age_s_max = 3600},
    {.name = "SHAMA_FAILED", .subjects = FAILED, .bytes_max = 1 << 26, .age_s_max = 3600},
};

static void on_timeout(uv_timer_t *timer) { *(bool *)timer->data = true; }

/* Runs the loop until `*value >= least`. */
static bool run_until(fixture_t *f, const int *value, int least) {
    bool is_late = false;
    uv_timer_t timer;
    uv_timer_init(&f->loop, &timer);
    timer.data = &is_late;
    uv_timer_start(&timer, on_timeout, WAIT_MS, 0);
    while (*value < least && !is_late) uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return *value >= least;
}

static bool run_until_ready(fixture_t *f, bool wanted) {
    for (uint64_t until = uv_hrtime() + WAIT_MS * 1000000ull; uv_hrtime() < until;) {
        if (sh_nats_is_ready(f->nats) == wanted) return true;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    return false;
}

static void run_for(fixture_t *f, uint64_t ms) {
    for (uint64_t until = uv_hrtime() + ms * 1000000ull; uv_hrtime() < until;) uv_run(&f->loop, UV_RUN_ONCE);
}

static void open_nats(fixture_t *f, const sh_nats_stream_t *streams, uint32_t count) {
    sh_nats_opts_t opts = {.url = f->server.url, .name = "test", .streams = streams, .stream_count = count, .timeout_ms = 3000};
    assert_int_equal(sh_nats_open(&f->loop, &opts, &f->log, &f->nats), 0);
}

static void on_closed(void *data) {
    fixture_t *f = data;
    f->closed++;
    f->nats = NULL;
}

static void close_nats(fixture_t *f) {
    int closed = f->closed;
    sh_nats_close(f->nats, on_closed, f);
    assert_int_equal(f->closed, closed);
    assert_true(run_until(f, &f->closed, closed + 1));
}

static int setup(void **state) {
    fixture_t *f = sh_calloc(1, sizeof(*f));
    if (uv_loop_init(&f->loop) != 0 || sh_log_open(&f->log, NULL, getenv("VERBOSE") ? SH_LOG_DEBUG : SH_LOG_OFF, "test") != 0) return -1;
    if (sh_test_nats_start(&f->server, NULL) != 0) return -1;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_t *f = *state;
    if (f->nats) close_nats(f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&f->loop);
    sh_test_nats_stop(&f->server);
    sh_log_close(&f->log);
    free(f);
    return status;
}

static void on_published(void *data, int status, const char *reason) {
    fixture_t *f = data;
    f->last_status = status;
    snprintf(f->last_reason, sizeof(f->last_reason), "%s", reason);
    if (status == 0)
        f->acked++;
    else
        f->failed++;
}

static int publish(fixture_t *f, const char *subject, const char *id, const char *payload) {
    const sh_nats_header_t headers[] = {{SH_STR("Nats-Msg-Id"), sh_str_of(id)}, {SH_STR("Shama-Type"), SH_STR("TestEvent")}};
    return sh_nats_publish(f->nats, sh_str_of(subject), headers, 2, sh_str_of(payload), on_published, f);
}

static void on_messages(void *data, sh_nats_msg_t *const *messages, uint32_t count) {
    fixture_t *f = data;
    f->calls++;
    if ((int)count > f->largest) f->largest = (int)count;
    for (uint32_t i = 0; i < count; i++) {
        sh_nats_msg_t *msg = messages[i];
        f->received++;
        f->last_deliveries = sh_nats_msg_deliveries(msg);
        sh_str_t payload = sh_nats_msg_payload(msg);
        snprintf(f->last_payload, sizeof(f->last_payload), "%.*s", (int)payload.len, payload.ptr);
        assert_true(sh_str_eq_c(sh_nats_msg_header(msg, "Shama-Type"), "TestEvent"));
        if (f->mode == KEEP)
            f->kept[f->kept_count++] = msg;
        else if (f->mode == NAK_FIRST && f->last_deliveries == 1)
            sh_nats_nak(msg, 300);
        else
            sh_nats_ack(msg);
    }
}

static void consume(fixture_t *f, uint32_t batch, uint64_t ack_wait_ms) {
    sh_nats_consumer_opts_t opts = {.stream = "SHAMA_EVENTS",
                                    .durable = "inventory-quotation_approved",
                                    .filter_subject = "quotation.approved",
                                    .batch = batch,
                                    .ack_wait_ms = ack_wait_ms};
    assert_int_equal(sh_nats_consume(f->nats, &opts, on_messages, f, &f->consumer), 0);
}

/* --- the tests --- */

static void test_publish_and_dedupe(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), SH_EUNAVAILABLE); /* not ready yet */
    assert_true(run_until_ready(f, true));
    assert_string_equal(sh_nats_status(f->nats), "ready");
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_int_equal(f->acked, 0);
    assert_int_equal(sh_nats_in_flight(f->nats), 1);
    assert_true(run_until(f, &f->acked, 1));
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0); /* the same event again: acknowledged, stored once */
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0);
    assert_int_equal(publish(f, "stock.reduced.failed", "c", "3"), 0);
    assert_true(run_until(f, &f->acked, 4));
    consume(f, 10, 0);
    assert_true(run_until(f, &f->received, 2));
    run_for(f, 300);
    assert_int_equal(f->received, 2);
    assert_string_equal(f->last_payload, "2");
    assert_int_equal(sh_nats_in_flight(f->nats), 0);
}

static void test_refusals(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.*", "a", "1"), SH_EINVAL);
    assert_int_equal(publish(f, "quotation.x\r\nPUB y", "a", "1"), SH_EINVAL);
    assert_int_equal(publish(f, "quotation.x", "a\r\nEvil: 1", "1"), SH_EINVAL);
    assert_int_equal(publish(f, "nobody.listens", "a", "1"), SH_ENOTFOUND);
    assert_int_equal(publish(f, "quotation", "a", "1"), SH_ENOTFOUND);
    assert_int_equal(publish(f, "quotation.x.y", "a", "1"), SH_ENOTFOUND);
    char *large = sh_calloc(1, SH_NATS_PAYLOAD_MAX + 1);
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.x"), NULL, 0, sh_str(large, SH_NATS_PAYLOAD_MAX + 1), on_published, f), SH_ELIMIT);
    free(large);
}

static void test_batches_and_flow(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    enum { EVENTS = 500 };
    for (int i = 0; i < EVENTS; i++) {
        char id[32];
        snprintf(id, sizeof(id), "e%d", i);
        assert_int_equal(publish(f, i % 2 ? "quotation.approved" : "quotation.created", id, id), 0);
    }
    assert_true(run_until(f, &f->acked, EVENTS));
    f->mode = KEEP;
    consume(f, 32, 0);
    assert_true(run_until(f, &f->received, 64));
    run_for(f, 300);
    assert_int_equal(f->received, 64); /* outstanding_max: 2 * batch */
    assert_true(f->largest > 1 && f->largest <= 32);
    f->mode = ACK;
    for (int i = 0; i < f->kept_count; i++) sh_nats_ack(f->kept[i]);
    f->kept_count = 0;
    assert_true(run_until(f, &f->received, EVENTS / 2));
    run_for(f, 300);
    assert_int_equal(f->received, EVENTS / 2); /* the other subject is not ours */
    assert_string_equal(f->last_payload, "e499");
    assert_int_equal(sh_nats_consumer_backlog(f->consumer), 0);
}

static void test_nak_and_term(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    f->mode = NAK_FIRST;
    consume(f, 8, 0);
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_true(run_until(f, &f->received, 1));
    uint64_t since = uv_hrtime();
    assert_int_equal(f->last_deliveries, 1);
    assert_true(run_until(f, &f->received, 2));
    assert_int_equal(f->last_deliveries, 2);
    assert_true(uv_hrtime() - since > 250 * 1000000ull);
    f->mode = KEEP;
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0);
    assert_true(run_until(f, &f->received, 3));
    sh_nats_term(f->kept[0]);
    run_for(f, 500);
    assert_int_equal(f->received, 3);
}

static void test_in_progress_holds_redelivery(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    f->mode = KEEP;
    consume(f, 8, 600);
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_true(run_until(f, &f->received, 1));
    for (int i = 0; i < 5; i++) {
        run_for(f, 300);
        sh_nats_in_progress(f->kept[0]);
    }
    assert_int_equal(f->received, 1);
    assert_true(run_until(f, &f->received, 2)); /* without it the broker gives it out again */
    assert_int_equal(f->last_deliveries, 2);
    for (int i = 0; i < f->kept_count; i++) sh_nats_ack(f->kept[i]);
}

static void test_broker_killed_and_back(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    consume(f, 8, 0);
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_true(run_until(f, &f->received, 1));
    run_for(f, 200); /* the ack arrives */
    sh_test_nats_kill(&f->server, SIGKILL);
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0); /* not known yet that it is down */
    assert_true(run_until(f, &f->failed, 1));
    assert_true(f->last_status == SH_EMAYBE || f->last_status == SH_EUNAVAILABLE);
    assert_true(run_until_ready(f, false));
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), SH_EUNAVAILABLE);
    assert_int_equal(sh_test_nats_restart(&f->server, NULL), 0);
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0);
    assert_true(run_until(f, &f->received, 2));
    assert_string_equal(f->last_payload, "2");
    run_for(f, 200);
    assert_int_equal(f->received, 2);
}

static void test_broker_comes_late(void **state) {
    fixture_t *f = *state;
    sh_test_nats_kill(&f->server, SIGKILL);
    open_nats(f, STREAMS, 2);
    consume(f, 8, 0);
    run_for(f, 700);
    assert_false(sh_nats_is_ready(f->nats));
    assert_non_null(strstr(sh_nats_status(f->nats), "not connected"));
    assert_int_equal(sh_test_nats_restart(&f->server, NULL), 0);
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_true(run_until(f, &f->received, 1));
}

static void on_deleted(void *data, int status, sh_nats_raw_t *raw) {
    fixture_t *f = data;
    (void)raw;
    assert_int_equal(status, 0);
    f->acked++;
}

/* What somebody removes while we are connected is made again, and events go on. */
static void test_removed_stream_and_consumer_come_back(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    consume(f, 8, 0);
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.approved", "a", "1"), 0);
    assert_true(run_until(f, &f->received, 1));
    int acked = f->acked;
    assert_int_equal(sh_nats_request(f->nats, "$JS.API.STREAM.DELETE.SHAMA_EVENTS", SH_STR_NULL, on_deleted, f), 0);
    assert_true(run_until(f, &f->acked, acked + 1));
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0);
    uint64_t since = uv_hrtime();
    assert_true(run_until(f, &f->failed, 1)); /* the broker says at once that nobody takes it */
    assert_true(uv_hrtime() - since < 1000 * 1000000ull);
    assert_int_equal(f->last_status, SH_ENOTFOUND);
    assert_string_equal(f->last_reason, "no stream takes this subject");
    assert_true(run_until_ready(f, false)); /* looks, and makes it again */
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.approved", "b", "2"), 0);
    assert_true(run_until(f, &f->received, 2));
    assert_string_equal(f->last_payload, "2");
}

static void test_frozen_broker_times_out(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    sh_test_nats_kill(&f->server, SIGSTOP);
    uint64_t slowest_ns = 0;
    for (int i = 0; i < 400; i++) { /* 400 * 16 KiB: more than the socket takes, and still nothing may block the loop */
        static char payload[16384];
        uint64_t since = uv_hrtime();
        memset(payload, 'x', sizeof(payload) - 1);
        assert_int_equal(publish(f, "quotation.x", "a", payload), 0);
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (uv_hrtime() - since > slowest_ns) slowest_ns = uv_hrtime() - since;
    }
    assert_true(slowest_ns < 200 * 1000000ull);
    assert_true(run_until(f, &f->failed, 400));
    assert_int_equal(f->last_status, SH_ETIMEDOUT);
    sh_test_nats_kill(&f->server, SIGCONT);
}

/* What cannot be sent is kept up to a limit, then refused; when the broker goes on, all of it arrives. */
static void test_unsent_is_bounded(void **state) {
    fixture_t *f = *state;
    enum { LEN = 1000000, MOST = 40 };
    char *payload = sh_calloc(1, LEN);
    sh_nats_opts_t opts = {.url = f->server.url, .streams = STREAMS, .stream_count = 1, .in_flight_bytes_max = 64 << 20};
    assert_int_equal(sh_nats_open(&f->loop, &opts, &f->log, &f->nats), 0);
    assert_true(run_until_ready(f, true));
    sh_test_nats_kill(&f->server, SIGSTOP);
    int sent = 0, status = 0;
    while (sent < MOST && (status = sh_nats_publish(f->nats, SH_STR("quotation.x"), NULL, 0, sh_str(payload, LEN), on_published, f)) == 0) {
        sent++;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(status, SH_ELIMIT);
    assert_true(sent >= 16 && sent < MOST);
    sh_test_nats_kill(&f->server, SIGCONT);
    assert_true(run_until(f, &f->acked, sent));
    assert_int_equal(f->failed, 0);
    free(payload);
}

/* Silence is told from having nothing to say: an idle connection lives on, one whose broker does not answer is given up. */
static void test_silence(void **state) {
    fixture_t *f = *state;
    enum { SILENCE_MS = 12500 };
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    for (int i = 0; i < SILENCE_MS / 100; i++) {
        run_for(f, 100);
        assert_true(sh_nats_is_ready(f->nats));
    }
    sh_test_nats_kill(&f->server, SIGSTOP);
    run_for(f, SILENCE_MS);
    assert_false(sh_nats_is_ready(f->nats));
    sh_test_nats_kill(&f->server, SIGCONT);
    assert_true(run_until_ready(f, true));
}

static void test_conflicting_and_full_stream(void **state) {
    fixture_t *f = *state;
    static const char *const other[] = {"quotation.*", NULL};
    sh_nats_stream_t stream = {.name = "SHAMA_EVENTS", .subjects = other, .bytes_max = 4096, .age_s_max = 60};
    open_nats(f, &stream, 1);
    assert_true(run_until_ready(f, true));
    static char payload[1024];
    memset(payload, 'x', sizeof(payload) - 1);
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        assert_int_equal(publish(f, "quotation.x", id, payload), 0);
    }
    assert_true(run_until(f, &f->failed, 3));
    assert_int_equal(f->acked, 3);
    assert_int_equal(f->last_status, SH_ELIMIT); /* full: the outbox waits */
    assert_non_null(strstr(f->last_reason, "maximum bytes"));
    close_nats(f);

    stream.bytes_max = 1 << 20; /* limits follow the configuration */
    open_nats(f, &stream, 1);
    assert_true(run_until_ready(f, true));
    assert_int_equal(publish(f, "quotation.x", "again", payload), 0);
    assert_true(run_until(f, &f->acked, 4));
    close_nats(f);

    open_nats(f, STREAMS, 2); /* other subjects under the same name */
    run_for(f, 500);
    assert_false(sh_nats_is_ready(f->nats));
    assert_non_null(strstr(sh_nats_status(f->nats), "stream SHAMA_EVENTS: exists with other subjects"));
}

/* A server that wants TLS and a password gets both, with a certificate that the test has made; without either nobody gets in. */
static void test_tls_and_password(void **state) {
    fixture_t *f = *state;
    char cert[96], key[96], command[512], url[96], id[16];
    sh_test_nats_kill(&f->server, SIGKILL);
    snprintf(cert, sizeof(cert), "%s/cert.pem", f->server.folder);
    snprintf(key, sizeof(key), "%s/key.pem", f->server.folder);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
             "-keyout %s -out %s 2>/dev/null",
             key, cert);
    assert_int_equal(system(command), 0);
    const char *const extra[] = {"--tls", "--tlscert", cert, "--tlskey", key, "--user", "shama", "--pass", "secret", NULL};
    assert_int_equal(sh_test_nats_restart(&f->server, extra), 0);
    const struct {
        const char *login, *ca;
        bool is_let_in;
        const char *reason;
    } cases[] = {
        {"shama:secret@", cert, true, NULL},
        {"shama:wrong@", cert, false, "Authorization Violation"},
        {"", cert, false, "Authorization Violation"},
        {"shama:secret@", NULL, false, "TLS: self-signed certificate"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        snprintf(url, sizeof(url), "nats://%s127.0.0.1:%d", cases[i].login, f->server.port);
        const sh_nats_opts_t opts = {.url = url, .ca_file = cases[i].ca, .streams = STREAMS, .stream_count = 2};
        assert_int_equal(sh_nats_open(&f->loop, &opts, &f->log, &f->nats), 0);
        if (cases[i].is_let_in) {
            assert_true(run_until_ready(f, true));
            consume(f, 8, 0);
            for (int large = 0; large < 30; large++) { /* more than the socket takes at once, and more than a record */
                static char payload[200000];
                memset(payload, 'x', sizeof(payload) - 1);
                snprintf(id, sizeof(id), "large%d", large);
                assert_int_equal(publish(f, "quotation.approved", id, payload), 0);
            }
            assert_true(run_until(f, &f->acked, 30));
            assert_true(run_until(f, &f->received, 30));
        } else {
            run_for(f, 700);
            assert_false(sh_nats_is_ready(f->nats));
            assert_non_null(strstr(sh_nats_status(f->nats), "not connected"));
            assert_non_null(strstr(sh_nats_status(f->nats), cases[i].reason));
            assert_null(strstr(sh_nats_status(f->nats), "wrong"));
        }
        close_nats(f);
    }
}

/* Asks for `url`, and for nothing else, until it is let in. */
static void connect_by(fixture_t *f, const char *url) {
    const sh_nats_opts_t opts = {.url = url, .streams = STREAMS, .stream_count = 2};
    assert_int_equal(sh_nats_open(&f->loop, &opts, &f->log, &f->nats), 0);
    assert_true(run_until_ready(f, true));
}

static void test_token(void **state) {
    fixture_t *f = *state;
    char url[96];
    const char *const extra[] = {"--auth", "s:cr@t/%1", NULL};
    sh_test_nats_kill(&f->server, SIGKILL);
    assert_int_equal(sh_test_nats_restart(&f->server, extra), 0);
    snprintf(url, sizeof(url), "nats://s%%3Acr%%40t%%2f%%251@127.0.0.1:%d", f->server.port);
    connect_by(f, url);
}

static void test_server_list(void **state) {
    fixture_t *f = *state;
    char url[128];
    snprintf(url, sizeof(url), "nats://127.0.0.1:1, nats://localhost:%d", f->server.port);
    connect_by(f, url);
    close_nats(f);
    static const char *const useless[] = {"http://localhost", "nats://", "nats://a:b", "nats://a:70000", "nats://%zz@a", " , "};
    for (size_t i = 0; i < SH_ARRAY_LEN(useless); i++) {
        const sh_nats_opts_t opts = {.url = useless[i]};
        assert_int_equal(sh_nats_open(&f->loop, &opts, &f->log, &f->nats), SH_EINVAL);
    }
}

static void on_large(void *data, sh_nats_msg_t *const *messages, uint32_t count) {
    fixture_t *f = data;
    for (uint32_t i = 0; i < count; i++) {
        sh_str_t payload = sh_nats_msg_payload(messages[i]), value = sh_nats_msg_header(messages[i], "Large");
        snprintf(f->last_payload, sizeof(f->last_payload), "%zu %zu", payload.len, value.len);
        for (size_t at = 0; at < payload.len; at++) assert_int_equal(payload.ptr[at], 'a' + (int)(at % 26));
        for (size_t at = 0; at < value.len; at++) assert_int_equal(value.ptr[at], 'v');
        f->received++;
        sh_nats_ack(messages[i]);
    }
}

/* A header nearly as large as one read, and a payload that is exactly as large as the broker takes; together they are refused here. */
static void test_large_header_and_payload(void **state) {
    fixture_t *f = *state;
    enum { VALUE_LEN = 60000 }; /* JetStream stores 64 KiB of headers */
    char *payload = sh_alloc(SH_NATS_PAYLOAD_MAX), *value = sh_alloc(VALUE_LEN);
    for (size_t i = 0; i < SH_NATS_PAYLOAD_MAX; i++) payload[i] = (char)('a' + i % 26);
    memset(value, 'v', VALUE_LEN);
    const sh_nats_header_t header = {SH_STR("Large"), sh_str(value, VALUE_LEN)};
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    sh_nats_consumer_opts_t opts = {.stream = "SHAMA_EVENTS", .durable = "large", .filter_subject = "quotation.large"};
    assert_int_equal(sh_nats_consume(f->nats, &opts, on_large, f, &f->consumer), 0);
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.large"), NULL, 0, sh_str(payload, SH_NATS_PAYLOAD_MAX), on_published, f), 0);
    assert_true(run_until(f, &f->acked, 1));
    assert_true(run_until(f, &f->received, 1));
    assert_string_equal(f->last_payload, "1048576 0");
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.large"), &header, 1, SH_STR("abc"), on_published, f), 0);
    assert_true(run_until(f, &f->acked, 2));
    assert_true(run_until(f, &f->received, 2));
    assert_string_equal(f->last_payload, "3 60000");
    assert_int_equal(sh_nats_publish(f->nats, SH_STR("quotation.large"), &header, 1, sh_str(payload, SH_NATS_PAYLOAD_MAX), on_published, f),
                     SH_ELIMIT);
    assert_int_equal(f->failed, 0);
    free(payload);
    free(value);
}

/* A login that may not publish everything: told as a time-out, and the connection goes on. */
static void test_permission(void **state) {
    fixture_t *f = *state;
    char path[96], url[96];
    sh_test_nats_kill(&f->server, SIGKILL);
    snprintf(path, sizeof(path), "%s/users.conf", f->server.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "authorization { users = [{ user: shama, password: secret, permissions: { publish: { deny: \"quotation.secret\" } } }] }\n");
    fclose(file);
    const char *const extra[] = {"-c", path, NULL};
    assert_int_equal(sh_test_nats_restart(&f->server, extra), 0);
    snprintf(url, sizeof(url), "nats://shama:secret@127.0.0.1:%d", f->server.port);
    connect_by(f, url);
    assert_int_equal(publish(f, "quotation.secret", "a", "1"), 0);
    assert_int_equal(publish(f, "quotation.open", "b", "2"), 0);
    assert_true(run_until(f, &f->acked, 1));
    assert_true(sh_nats_is_ready(f->nats));
    assert_int_equal(f->failed, 0);
}

static void test_close_with_work_in_flight(void **state) {
    fixture_t *f = *state;
    open_nats(f, STREAMS, 2);
    assert_true(run_until_ready(f, true));
    f->mode = KEEP;
    consume(f, 4, 0);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        assert_int_equal(publish(f, "quotation.approved", id, id), 0);
    }
    assert_true(run_until(f, &f->received, 4));
    sh_test_nats_kill(&f->server, SIGSTOP); /* so that some stay in flight */
    int before = f->acked + f->failed;
    for (int i = 100; i < 150; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        assert_int_equal(publish(f, "quotation.approved", id, id), 0);
    }
    sh_nats_in_progress(f->kept[0]);
    close_nats(f);
    assert_int_equal(f->acked + f->failed, 150);
    assert_true(f->acked + f->failed > before);
    assert_int_equal(f->last_status, SH_ECANCELED);
    for (int i = 0; i < f->kept_count; i++) sh_nats_ack(f->kept[i]); /* held ones outlive the client */
    sh_test_nats_kill(&f->server, SIGCONT);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* as the master does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_publish_and_dedupe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches_and_flow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nak_and_term, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_progress_holds_redelivery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broker_killed_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broker_comes_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_stream_and_consumer_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_frozen_broker_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsent_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicting_and_full_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tls_and_password, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_header_and_payload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permission, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_with_work_in_flight, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
