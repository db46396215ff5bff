/* The leader's cycle: mark and fetch, publish, wait for acks, pause. See the header for the states. */
#include "events/outbox_relay.h"

#include "base/arena.h"
#include "base/err.h"
#include "codec/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    LOCK_RETRY_MS = 1000,
    POLL_MS_DEFAULT = 500,
    PAUSE_MS_MIN = 5,  /* while events come alone */
    WAKE_EVERY_MS = 3, /* less than any pause */
    BACKOFF_MS_MIN = 200,
    BACKOFF_MS_MAX = 5000,
    SET_ASIDE_MAX = 256, /* rows the broker will not have; others go on */
    SET_ASIDE_MS = 30000,
    RETENTION_MS = 600000,
    RETENTION_ROWS = 5000,       /* deleted at a time */
    LOCK_NAMESPACE = 0x5368616d, /* "Sham" */
    SCHEMA_MAX = 48,
    ID_MAX = 20, /* digits of a bigint */
};

typedef enum relay_state { RELAY_FOLLOWING, RELAY_IDLE, RELAY_FETCHING, RELAY_PUBLISHING } relay_state_t;

typedef enum row_state { ROW_WAITING, ROW_SENT, ROW_ACKED, ROW_FAILED } row_state_t;

typedef struct relay_row {
    sh_relay_t *relay;
    row_state_t state;
    uint32_t index; /* in the row set */
    uint64_t aggregate_hash;
    int32_t before; /* the row of the same aggregate that goes first, or -1 */
} relay_row_t;

typedef struct set_aside {
    char id[ID_MAX + 1];
    uint64_t until_ms;
} set_aside_t;

struct sh_relay {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_nats_t *nats;
    sh_nats_watch_t watch;
    sh_pg_session_t *session;
    uv_timer_t timer; /* the next thing to do, whatever it is */
    uv_poll_t poll;   /* wake_fd; listened to while idle only */
    bool has_poll;
    int wake_fd;
    uint32_t handles_open;
    char schema[SCHEMA_MAX + 1];
    char *sql_fetch, *sql_delete;
    char lock_key[16], batch_text[12], keep_text[12];
    uint32_t batch;
    uint64_t poll_ms, pause_ms, backoff_ms;
    bool has_session, is_asking; /* is_asking: a statement is out */
    relay_state_t state;
    sh_pg_rows_t *rows; /* the batch; ids and payloads live in it */
    relay_row_t batch_rows[SH_RELAY_BATCH_MAX];
    uint32_t row_count, sent_count, waiting_count;
    bool is_batch_failed, is_batch_full, is_busy; /* busy: the last batch was more than one row */
    sh_buf_t marks;                               /* "{1,2,3": ids acknowledged and not yet marked */
    uint32_t mark_count;
    set_aside_t aside[SET_ASIDE_MAX];
    uint32_t aside_count;
    uint64_t fetched_ms, retention_at_ms, woke_ms;
    sh_relay_stats_t stats;
    sh_series_t *published, *refused; /* NULL without metrics */
    bool is_closing;
    void (*close_fn)(void *data);
    void *close_data;
};

static void on_timer(uv_timer_t *timer);
static void try_lock(sh_relay_t *relay);
static void fetch(sh_relay_t *relay);
static void publish_rows(sh_relay_t *relay);
static void close_session(sh_relay_t *relay);

/* --- waking --- */

void sh_relay_wake(sh_relay_t *relay) {
    uint64_t one = 1, now_ms = uv_now(relay->loop);
    /* The leader waits pause_ms between a wake and its fetch, so a wake of a moment ago covers this commit too. */
    if (now_ms - relay->woke_ms < WAKE_EVERY_MS) return;
    relay->woke_ms = now_ms;
    /* The leader itself, with a batch out: its next fetch begins after this commit anyway. */
    if (relay->wake_fd < 0 || (relay->stats.is_leader && relay->state == RELAY_PUBLISHING)) return;
    while (write(relay->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) continue; /* EAGAIN: it is as awake as can be */
}

/* So that the commits of a moment go together; where events come alone there is little to wait for. */
static uint64_t pause_of(const sh_relay_t *relay) { return relay->is_busy || relay->pause_ms < PAUSE_MS_MIN ? relay->pause_ms : PAUSE_MS_MIN; }

static void schedule(sh_relay_t *relay, uint64_t in_ms) { SH_ASSERT(uv_timer_start(&relay->timer, on_timer, in_ms, 0) == 0); }

static void on_wake(uv_poll_t *poll, int status, int events) {
    sh_relay_t *relay = SH_CONTAINER_OF(poll, sh_relay_t, poll);
    uint64_t count;
    (void)events;
    if (status < 0) return;
    while (read(relay->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR) continue;
    /* Not listened to until it is idle again: the commits of a busy moment wake nobody. */
    uv_poll_stop(poll);
    if (relay->state == RELAY_IDLE) schedule(relay, pause_of(relay));
}

static void listen_for_wake(sh_relay_t *relay) {
    if (relay->has_poll && !relay->is_closing) (void)uv_poll_start(&relay->poll, UV_READABLE, on_wake);
}

static void on_nats_ready(void *data, bool is_ready) {
    sh_relay_t *relay = data;
    if (!is_ready) return;
    relay->backoff_ms = 0;
    if (relay->state == RELAY_IDLE) schedule(relay, 0); /* not inside the callback of nats */
}

/* --- leadership --- */

static void follow(sh_relay_t *relay) {
    if (relay->stats.is_leader) sh_log_warn(relay->log, "relay lost its session", SH_LOG_C("service", relay->schema));
    relay->stats.is_leader = false;
    if (relay->has_poll) uv_poll_stop(&relay->poll);
    if (relay->state != RELAY_PUBLISHING) relay->state = RELAY_FOLLOWING;
}

static void on_locked(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    sh_relay_t *relay = data;
    relay->is_asking = false;
    if (relay->is_closing) {
        close_session(relay);
        return;
    }
    bool is_leader = status == 0 && rows->row_count == 1 && sh_str_eq_c(sh_pg_rows_text(rows, 0, 1), "t");
    if (status && status != SH_EUNAVAILABLE)
        sh_log_warn(relay->log, "relay cannot ask for its lock", SH_LOG_C("service", relay->schema), SH_LOG_C("reason", error->message));
    if (!is_leader || !relay->has_session) {
        if (relay->has_session) schedule(relay, LOCK_RETRY_MS);
        return;
    }
    sh_log_info(relay->log, "relay leads", SH_LOG_C("service", relay->schema));
    relay->stats.is_leader = true;
    relay->retention_at_ms = uv_now(relay->loop); /* with the first quiet moment */
    if (relay->state == RELAY_PUBLISHING) return; /* a batch of the session before: its end goes on from there */
    relay->state = RELAY_IDLE;
    fetch(relay);
}

static void try_lock(sh_relay_t *relay) {
    const char *params[] = {relay->lock_key};
    char sql[160];
    /* A mark lost in a crash is made again; nobody has to wait for its flush to the disk. */
    snprintf(sql, sizeof(sql), "SELECT set_config('synchronous_commit', 'off', false), pg_try_advisory_lock(%d, $1::int)", LOCK_NAMESPACE);
    const sh_pg_statement_t statement = {.sql = sh_str_of(sql), .param_count = 1, .params = params};
    if (sh_pg_session_query(relay->session, &statement, on_locked, relay) == 0)
        relay->is_asking = true;
    else
        schedule(relay, LOCK_RETRY_MS);
}

static void on_session_up(void *data, sh_pg_session_t *session) {
    sh_relay_t *relay = data;
    (void)session;
    relay->has_session = true;
    if (!relay->is_closing && !relay->is_asking) try_lock(relay);
}

static void on_session_down(void *data, sh_pg_session_t *session) {
    sh_relay_t *relay = data;
    (void)session;
    relay->has_session = false;
    follow(relay);
}

/* --- fetching --- */

static void idle(sh_relay_t *relay) {
    relay->state = RELAY_IDLE;
    listen_for_wake(relay);
    schedule(relay, relay->poll_ms);
}

static void back_off(sh_relay_t *relay) {
    relay->backoff_ms = relay->backoff_ms ? relay->backoff_ms * 2 : BACKOFF_MS_MIN;
    if (relay->backoff_ms > BACKOFF_MS_MAX) relay->backoff_ms = BACKOFF_MS_MAX;
    relay->state = RELAY_IDLE;
    schedule(relay, relay->backoff_ms); /* a wake does not cut it short: the poll is not started */
}

/* Links each row to the one of the same aggregate before it. */
static void order_rows(sh_relay_t *relay) {
    for (uint32_t i = 0; i < relay->row_count; i++) {
        relay_row_t *row = &relay->batch_rows[i];
        *row = (relay_row_t){.relay = relay, .index = i, .before = -1};
        row->aggregate_hash = sh_str_hash(sh_pg_rows_text(relay->rows, i, 3));
        for (uint32_t j = i; j-- > 0;) {
            if (relay->batch_rows[j].aggregate_hash != row->aggregate_hash) continue;
            row->before = (int32_t)j;
            break;
        }
    }
}

static void on_fetched(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    sh_relay_t *relay = data;
    relay->is_asking = false;
    if (status == 0) {
        relay->mark_count = 0;
        sh_buf_clear(&relay->marks);
    }
    if (relay->is_closing) {
        close_session(relay);
        return;
    }
    if (!relay->stats.is_leader) {
        relay->state = RELAY_FOLLOWING;
        if (relay->has_session) try_lock(relay);
        return;
    }
    if (status) {
        sh_log_error(relay->log, "relay cannot read the outbox", SH_LOG_C("service", relay->schema), SH_LOG_C("reason", error->message));
        back_off(relay);
        return;
    }
    if (rows->row_count == 0) {
        idle(relay);
        return;
    }
    relay->rows = sh_pg_rows_retain(rows);
    relay->row_count = rows->row_count < SH_RELAY_BATCH_MAX ? rows->row_count : SH_RELAY_BATCH_MAX;
    relay->is_batch_full = relay->row_count == relay->batch;
    relay->is_busy = relay->row_count > 1;
    relay->is_batch_failed = false;
    relay->sent_count = 0;
    relay->waiting_count = relay->row_count;
    relay->stats.batches++;
    relay->state = RELAY_PUBLISHING;
    order_rows(relay);
    publish_rows(relay);
}

static void forget_aside(sh_relay_t *relay) {
    uint64_t now_ms = uv_now(relay->loop);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < relay->aside_count; i++)
        if (relay->aside[i].until_ms > now_ms) relay->aside[kept++] = relay->aside[i];
    relay->aside_count = kept;
}

/* Marks what was acknowledged and takes the next rows. A WITH that writes does not change what the SELECT beside it sees, hence
 * the third parameter: ids to leave out (the ones marked just now, and those set aside). */
static void fetch(sh_relay_t *relay) {
    if (relay->is_asking || !relay->stats.is_leader) return;
    bool is_wanted = sh_nats_is_ready(relay->nats) && !relay->is_closing;
    if (!is_wanted && relay->mark_count == 0) {
        if (relay->is_closing)
            close_session(relay);
        else
            back_off(relay);
        return;
    }
    forget_aside(relay);
    sh_buf_t marks, omitted;
    sh_buf_init(&marks);
    sh_buf_init(&omitted);
    sh_buf_put_byte(&marks, '{');
    sh_buf_put_str(&marks, sh_buf_str(&relay->marks));
    sh_buf_put_str(&omitted, sh_buf_str(&marks));
    for (uint32_t i = 0; i < relay->aside_count; i++) {
        if (omitted.len > 1) sh_buf_put_byte(&omitted, ',');
        sh_buf_put_c(&omitted, relay->aside[i].id);
    }
    sh_buf_put_byte(&marks, '}');
    sh_buf_put_byte(&omitted, '}');
    const char *params[] = {sh_buf_c(&marks), sh_buf_c(&omitted), is_wanted ? relay->batch_text : "0"};
    const sh_pg_statement_t statement = {.sql = sh_str_of(relay->sql_fetch), .param_count = 3, .params = params};
    uv_timer_stop(&relay->timer);
    if (relay->has_poll) uv_poll_stop(&relay->poll);
    int status = sh_pg_session_query_bytes(relay->session, &statement, on_fetched, relay);
    sh_buf_dispose(&marks);
    sh_buf_dispose(&omitted);
    if (status) {
        if (relay->is_closing)
            close_session(relay);
        else
            back_off(relay);
        return;
    }
    relay->is_asking = true;
    relay->state = RELAY_FETCHING;
    relay->fetched_ms = uv_now(relay->loop);
}

/* --- publishing --- */

static void batch_done(sh_relay_t *relay) {
    sh_pg_rows_release(relay->rows);
    relay->rows = NULL;
    relay->row_count = 0;
    relay->state = RELAY_IDLE;
    if (relay->is_closing) {
        if (relay->stats.is_leader)
            fetch(relay);
        else
            close_session(relay);
        return;
    }
    if (!relay->stats.is_leader) {
        relay->state = RELAY_FOLLOWING;
        relay->mark_count = 0; /* the next leader sends them again and the broker drops them */
        sh_buf_clear(&relay->marks);
        if (relay->has_session && !relay->is_asking) try_lock(relay);
        return;
    }
    if (relay->is_batch_failed) {
        back_off(relay);
        return;
    }
    relay->backoff_ms = 0;
    if (relay->is_batch_full)
        fetch(relay);
    else
        schedule(relay, pause_of(relay));
}

static void set_row_aside(sh_relay_t *relay, const relay_row_t *row, const char *reason) {
    sh_str_t id = sh_pg_rows_text(relay->rows, row->index, 0);
    relay->stats.refused++;
    if (relay->refused) sh_series_add(relay->refused, 1);
    sh_log_error(relay->log, "event refused, set aside for a while", SH_LOG_C("service", relay->schema), SH_LOG_STR("outbox_id", id),
                 SH_LOG_STR("event_id", sh_pg_rows_text(relay->rows, row->index, 1)),
                 SH_LOG_STR("subject", sh_pg_rows_text(relay->rows, row->index, 2)), SH_LOG_C("reason", reason));
    if (relay->aside_count == SET_ASIDE_MAX || id.len > ID_MAX) {
        relay->is_batch_failed = true;
        return;
    }
    set_aside_t *aside = &relay->aside[relay->aside_count++];
    memcpy(aside->id, id.ptr, id.len);
    aside->id[id.len] = 0;
    aside->until_ms = uv_now(relay->loop) + SET_ASIDE_MS;
}

static void row_failed(sh_relay_t *relay, relay_row_t *row, int status, const char *reason) {
    row->state = ROW_FAILED;
    /* The row's own fault, as far as one can tell; anything else concerns all rows. */
    if (status == SH_EINVAL || status == SH_EIO || status == SH_ENOTFOUND) {
        set_row_aside(relay, row, *reason ? reason : sh_err_text(status));
        return;
    }
    if (!relay->is_batch_failed)
        sh_log_warn(relay->log, "events wait in the outbox", SH_LOG_C("service", relay->schema),
                    SH_LOG_C("reason", *reason ? reason : sh_err_text(status)));
    relay->is_batch_failed = true;
}

static void on_published(void *data, int status, const char *reason) {
    relay_row_t *row = data;
    sh_relay_t *relay = row->relay;
    relay->sent_count--;
    if (status == 0) {
        row->state = ROW_ACKED;
        relay->stats.published++;
        if (relay->published) sh_series_add(relay->published, 1);
        if (relay->mark_count++) sh_buf_put_byte(&relay->marks, ',');
        sh_buf_put_str(&relay->marks, sh_pg_rows_text(relay->rows, row->index, 0));
    } else {
        row_failed(relay, row, status, reason);
    }
    publish_rows(relay);
}

/* The stored headers, and the event's id as Nats-Msg-Id. Values live in `arena` and in the row. */
static int read_headers(sh_arena_t *arena, sh_str_t json, sh_str_t event_id, sh_nats_header_t *headers, uint32_t *count) {
    sh_json_value_t *object;
    sh_json_error_t error;
    uint32_t filled = 0;
    if (sh_json_read(arena, json, SH_JSON_LIMITS_DEFAULT, &object, &error) != 0 || object->kind != SH_JSON_OBJECT) return SH_EINVAL;
    headers[filled++] = (sh_nats_header_t){SH_STR("Nats-Msg-Id"), event_id};
    for (uint32_t i = 0; i < object->count; i++) {
        const sh_json_member_t *member = &object->members[i];
        if (sh_str_eq_nocase(member->key, SH_STR("Nats-Msg-Id"))) continue;
        if (filled == SH_NATS_HEADERS_MAX) return SH_EINVAL;
        if (member->value.kind == SH_JSON_NULL) continue;
        if (member->value.kind != SH_JSON_STRING && member->value.kind != SH_JSON_INTEGER) return SH_EINVAL;
        headers[filled++] = (sh_nats_header_t){member->key, member->value.text};
    }
    *count = filled;
    return 0;
}

static int publish_row(sh_relay_t *relay, relay_row_t *row) {
    sh_nats_header_t headers[SH_NATS_HEADERS_MAX];
    uint32_t header_count = 0;
    sh_arena_t arena;
    sh_str_t payload = sh_pg_rows_text(relay->rows, row->index, 5);
    sh_arena_init(&arena);
    int status =
        read_headers(&arena, sh_pg_rows_text(relay->rows, row->index, 4), sh_pg_rows_text(relay->rows, row->index, 1), headers, &header_count);
    if (status == 0 && payload.len > SH_NATS_PAYLOAD_MAX) status = SH_EINVAL;
    if (status == 0)
        status = sh_nats_publish(relay->nats, sh_pg_rows_text(relay->rows, row->index, 2), headers, header_count, payload, on_published, row);
    sh_arena_dispose(&arena);
    return status;
}

/* Sends whatever may go now; called again with each ack, until nothing is out and nothing can go. */
static void publish_rows(sh_relay_t *relay) {
    bool is_room_left = true;
    for (uint32_t i = 0; i < relay->row_count && relay->waiting_count > 0 && is_room_left; i++) {
        relay_row_t *row = &relay->batch_rows[i];
        if (row->state != ROW_WAITING) continue;
        row_state_t before = row->before < 0 ? ROW_ACKED : relay->batch_rows[row->before].state;
        if (before == ROW_FAILED || relay->is_batch_failed) {
            row->state = ROW_FAILED; /* stays in the table, to be taken again */
            relay->waiting_count--;
            continue;
        }
        if (before != ROW_ACKED) continue;
        int status = publish_row(relay, row);
        if (status == 0) {
            row->state = ROW_SENT;
            relay->waiting_count--;
            relay->sent_count++;
        } else if (status == SH_ELIMIT) {
            is_room_left = false; /* others are in flight, maybe another relay's */
        } else {
            relay->waiting_count--;
            row_failed(relay, row, status, "");
        }
    }
    if (relay->sent_count > 0) return;
    if (!is_room_left && !relay->is_closing)
        schedule(relay, pause_of(relay));
    else
        batch_done(relay);
}

/* --- retention --- */

static void on_deleted(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    sh_relay_t *relay = data;
    relay->is_asking = false;
    if (relay->is_closing) {
        close_session(relay);
        return;
    }
    if (status) sh_log_warn(relay->log, "old outbox rows stay", SH_LOG_C("service", relay->schema), SH_LOG_C("reason", error->message));
    bool is_more = status == 0 && rows->affected == RETENTION_ROWS;
    relay->retention_at_ms = uv_now(relay->loop) + (is_more ? relay->poll_ms : RETENTION_MS);
    if (relay->stats.is_leader)
        fetch(relay);
    else if (relay->has_session)
        try_lock(relay);
}

/* Looks at the oldest rows only, so that it costs the same however large the table is. */
static bool delete_old_rows(sh_relay_t *relay) {
    if (!relay->sql_delete || uv_now(relay->loop) < relay->retention_at_ms) return false;
    char rows_text[12];
    snprintf(rows_text, sizeof(rows_text), "%d", RETENTION_ROWS);
    const char *params[] = {relay->keep_text, rows_text};
    const sh_pg_statement_t statement = {.sql = sh_str_of(relay->sql_delete), .param_count = 2, .params = params};
    relay->retention_at_ms = uv_now(relay->loop) + RETENTION_MS;
    if (sh_pg_session_query(relay->session, &statement, on_deleted, relay) != 0) return false;
    relay->is_asking = true;
    relay->state = RELAY_FETCHING;
    return true;
}

static void on_timer(uv_timer_t *timer) {
    sh_relay_t *relay = SH_CONTAINER_OF(timer, sh_relay_t, timer);
    if (relay->is_closing || relay->is_asking) return;
    if (relay->state == RELAY_PUBLISHING)
        publish_rows(relay);
    else if (relay->state == RELAY_IDLE && !delete_old_rows(relay))
        fetch(relay);
    else if (relay->state == RELAY_FOLLOWING && relay->has_session)
        try_lock(relay);
}

/* --- life --- */

static bool is_plain_name(const char *name) {
    if (!name || *name < 'a' || *name > 'z' || strlen(name) > SCHEMA_MAX) return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static char *format(const char *template, const char *schema) {
    sh_buf_t buf;
    sh_buf_init(&buf);
    for (const char *at = template; *at; at++) {
        if (*at == '@')
            sh_buf_put_c(&buf, schema);
        else
            sh_buf_put_byte(&buf, *at);
    }
    char *text = sh_strdup(sh_buf_c(&buf));
    sh_buf_dispose(&buf);
    return text;
}

static void make_series(sh_relay_t *relay, sh_metrics_t *metrics) {
    char labels[SH_SERIES_LABELS_MAX];
    if (!metrics) return;
    snprintf(labels, sizeof(labels), "service=\"%s\"", relay->schema);
    relay->published = sh_metrics_series(metrics, SH_COUNTER, "shama_outbox_published_total", labels, "Events the broker has acknowledged.");
    relay->refused = sh_metrics_series(metrics, SH_COUNTER, "shama_outbox_refused_total", labels, "Events the broker would not have.");
}

static void free_relay(sh_relay_t *relay) {
    sh_buf_dispose(&relay->marks);
    free(relay->sql_fetch);
    free(relay->sql_delete);
    free(relay);
}

int sh_relay_create(uv_loop_t *loop, const sh_relay_opts_t *opts, sh_log_t *log, sh_relay_t **out) {
    if (!is_plain_name(opts->schema) || opts->batch > SH_RELAY_BATCH_MAX || !opts->nats) return SH_EINVAL;
    sh_relay_t *relay = sh_calloc(1, sizeof(*relay));
    relay->loop = loop;
    relay->log = log;
    relay->nats = opts->nats;
    relay->wake_fd = opts->wake_fd;
    relay->batch = opts->batch ? opts->batch : SH_RELAY_BATCH_MAX;
    relay->poll_ms = opts->poll_ms ? opts->poll_ms : POLL_MS_DEFAULT;
    relay->pause_ms = opts->pause_ms ? opts->pause_ms : PAUSE_MS_MIN;
    strcpy(relay->schema, opts->schema);
    snprintf(relay->lock_key, sizeof(relay->lock_key), "%d", (int32_t)(uint32_t)sh_str_hash(sh_str_of(opts->schema)));
    snprintf(relay->batch_text, sizeof(relay->batch_text), "%u", relay->batch);
    snprintf(relay->keep_text, sizeof(relay->keep_text), "%u", opts->keep_days);
    sh_buf_init(&relay->marks);
    relay->sql_fetch = format("WITH marked AS (UPDATE @.outbox SET published_at = now() WHERE id = ANY($1::bigint[]) AND published_at IS NULL) "
                              "SELECT id::text, event_id::text, subject, aggregate, headers::text, payload FROM @.outbox o "
                              "WHERE published_at IS NULL AND id <> ALL($2::bigint[]) ORDER BY o.id LIMIT $3::int",
                              relay->schema);
    if (opts->keep_days)
        relay->sql_delete =
            format("DELETE FROM @.outbox WHERE id IN (SELECT id FROM (SELECT id, published_at FROM @.outbox ORDER BY id LIMIT $2::int) "
                   "oldest WHERE published_at < now() - make_interval(days => $1::int))",
                   relay->schema);
    SH_ASSERT(uv_timer_init(loop, &relay->timer) == 0);
    relay->handles_open = 1;
    if (relay->wake_fd >= 0 && uv_poll_init(loop, &relay->poll, relay->wake_fd) == 0) {
        relay->has_poll = true;
        relay->handles_open = 2;
    }
    int status = sh_pg_session_open(loop, &opts->session, on_session_up, on_session_down, relay, log, &relay->session);
    if (status) goto fail_session;
    make_series(relay, opts->metrics);
    relay->watch = (sh_nats_watch_t){.fn = on_nats_ready, .data = relay};
    sh_list_init(&relay->watch.link);
    sh_nats_watch_link(relay->nats, &relay->watch);
    *out = relay;
    return 0;

fail_session:
    relay->session = NULL;
    sh_list_init(&relay->watch.link);
    relay->is_closing = true;
    close_session(relay);
    return status;
}

static void on_handle_closed(sh_relay_t *relay) {
    if (--relay->handles_open > 0) return;
    void (*fn)(void *data) = relay->close_fn;
    void *data = relay->close_data;
    free_relay(relay);
    if (fn) fn(data);
}

static void on_timer_closed(uv_handle_t *handle) { on_handle_closed(SH_CONTAINER_OF((uv_timer_t *)handle, sh_relay_t, timer)); }
static void on_poll_closed(uv_handle_t *handle) { on_handle_closed(SH_CONTAINER_OF((uv_poll_t *)handle, sh_relay_t, poll)); }

static void on_session_closed(void *data) {
    sh_relay_t *relay = data;
    relay->session = NULL;
    if (relay->has_poll) uv_close((uv_handle_t *)&relay->poll, on_poll_closed);
    uv_close((uv_handle_t *)&relay->timer, on_timer_closed);
}

/* The last step of closing: nothing is out any more. */
static void close_session(sh_relay_t *relay) {
    relay->stats.is_leader = false;
    uv_timer_stop(&relay->timer);
    if (relay->session)
        sh_pg_session_close(relay->session, on_session_closed, relay);
    else
        on_session_closed(relay);
}

void sh_relay_close(sh_relay_t *relay, void (*fn)(void *data), void *data) {
    SH_ASSERT(!relay->is_closing);
    relay->is_closing = true;
    relay->close_fn = fn;
    relay->close_data = data;
    sh_nats_watch_unlink(&relay->watch);
    if (relay->has_poll) uv_poll_stop(&relay->poll);
    uv_timer_stop(&relay->timer);
    if (relay->is_asking || relay->sent_count > 0) return; /* its callback goes on */
    if (relay->state == RELAY_PUBLISHING)
        batch_done(relay);
    else if (relay->stats.is_leader)
        fetch(relay);
    else
        close_session(relay);
}

void sh_relay_stats(const sh_relay_t *relay, sh_relay_stats_t *out) { *out = relay->stats; }
