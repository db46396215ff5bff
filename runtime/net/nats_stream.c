/* Makes the streams that must exist, or checks that those which exist are the ones meant.
 *
 *     INFO ──404──▶ CREATE ─▶ next stream
 *       └── found ─▶ same? next stream. Other limits? UPDATE ─▶ next. Another stream under our name? conflict: said, and looked at again later
 *
 * It runs after every connect. Requests and answers: https://docs.nats.io/reference/reference-protocols/nats_api_reference */
#include "net/nats_internal.h"

#include "codec/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STREAM_NOT_FOUND = 10059, DUPLICATE_WINDOW_S_DEFAULT = 600 };
enum { NS_PER_S = 1000000000 };

static void check_next(sh_nats_t *nats);

/* --- the answers --- */

static int64_t int_of(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *value = object ? sh_json_get(object, key) : NULL;
    return value && value->kind == SH_JSON_INTEGER ? value->i64 : 0;
}

static sh_str_t text_of(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *value = object ? sh_json_get(object, key) : NULL;
    return value && value->kind == SH_JSON_STRING ? value->text : SH_STR_NULL;
}

static sh_json_value_t *parse(sh_arena_t *arena, sh_nats_raw_t *raw) {
    sh_json_value_t *value = NULL;
    sh_json_error_t error;
    return sh_json_read(arena, sh_nats_raw_payload(raw), SH_JSON_LIMITS_DEFAULT, &value, &error) ? NULL : value;
}

static int error_of(const sh_json_value_t *answer, char *text, size_t size) {
    const sh_json_value_t *error = answer ? sh_json_get(answer, "error") : NULL;
    if (answer && !error) return 0;
    sh_str_t description = answer ? text_of(error, "description") : SH_STR("an answer that is no JSON");
    int64_t code = int_of(error, "err_code");
    snprintf(text, size, "%.*s (%" PRId64 ")", (int)description.len, description.ptr ? description.ptr : "", code);
    return code ? (int)code : -1;
}

int sh_nats_api_error(sh_nats_raw_t *raw, char *text, size_t size) {
    sh_arena_t arena;
    sh_arena_init(&arena);
    int code = error_of(parse(&arena, raw), text, size);
    sh_arena_dispose(&arena);
    return code;
}

/* --- the check --- */

static int64_t window_s(const sh_nats_stream_t *wanted) {
    int64_t window = wanted->duplicate_window_s ? wanted->duplicate_window_s : DUPLICATE_WINDOW_S_DEFAULT;
    return wanted->age_s_max && window > wanted->age_s_max ? wanted->age_s_max : window;
}

static void ask(sh_nats_t *nats, const char *verb, sh_str_t body, sh_nats_reply_fn fn) {
    char subject[SH_NATS_SUBJECT_MAX];
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.%s.%s", verb, nats->streams[nats->stream_checked].name);
    if (sh_nats_request(nats, subject, body, fn, nats) != 0) nats->recheck_at_ms = uv_now(nats->loop) + SH_NATS_RECHECK_MS;
}

/* Says what is wrong, once, and looks again later. */
static void put_off(sh_nats_t *nats, const char *what) {
    char status[sizeof(nats->status)];
    snprintf(status, sizeof(status), "stream %s: %s", nats->streams[nats->stream_checked].name, what);
    if (strcmp(status, nats->status) != 0) sh_log_error(nats->log, "broker not ready", SH_LOG_C("reason", status));
    sh_nats_set_state(nats, SH_NATS_CHECKING, status);
    nats->recheck_at_ms = uv_now(nats->loop) + SH_NATS_RECHECK_MS;
}

static void stream_done(sh_nats_t *nats) {
    nats->stream_checked++;
    check_next(nats);
}

static void on_written(void *data, int status, sh_nats_raw_t *raw) {
    sh_nats_t *nats = data;
    char text[SH_NATS_REASON_MAX] = "";
    if (nats->state != SH_NATS_CHECKING) return;
    if (status)
        put_off(nats, sh_err_text(status));
    else if (sh_nats_api_error(raw, text, sizeof(text)))
        put_off(nats, text);
    else {
        sh_log_info(nats->log, "stream made or brought up to date", SH_LOG_C("stream", nats->streams[nats->stream_checked].name));
        stream_done(nats);
    }
}

static void create_stream(sh_nats_t *nats) {
    const sh_nats_stream_copy_t *stream = &nats->streams[nats->stream_checked];
    sh_buf_t body;
    sh_buf_init(&body);
    sh_buf_put_lit(&body, "{\"name\":");
    sh_buf_put_json(&body, sh_str_of(stream->name));
    sh_buf_put_lit(&body, ",\"subjects\":[");
    for (char **subject = stream->subjects; *subject; subject++) {
        if (subject != stream->subjects) sh_buf_put_byte(&body, ',');
        sh_buf_put_json(&body, sh_str_of(*subject));
    }
    sh_buf_printf(&body,
                  "],\"retention\":\"limits\",\"storage\":\"file\",\"discard\":\"new\",\"max_consumers\":-1,\"max_msgs\":-1,"
                  "\"max_msg_size\":-1,\"max_bytes\":%" PRId64 ",\"max_age\":%" PRId64 ",\"duplicate_window\":%" PRId64 ",\"num_replicas\":%u}",
                  stream->wanted.bytes_max, stream->wanted.age_s_max * NS_PER_S, window_s(&stream->wanted) * NS_PER_S,
                  stream->wanted.replicas ? stream->wanted.replicas : 1);
    ask(nats, "CREATE", sh_buf_str(&body), on_written);
    sh_buf_dispose(&body);
}

static bool has_subjects(const sh_json_value_t *config, char *const *subjects) {
    const sh_json_value_t *list = sh_json_get(config, "subjects");
    uint32_t wanted = 0;
    if (!list || list->kind != SH_JSON_ARRAY) return false;
    for (; subjects[wanted]; wanted++) {
        bool found = false;
        for (uint32_t i = 0; i < list->count && !found; i++)
            found = list->items[i].kind == SH_JSON_STRING && sh_str_eq_c(list->items[i].text, subjects[wanted]);
        if (!found) return false;
    }
    return list->count == wanted;
}

/* NULL, or what makes it another stream than the one meant. */
static const char *conflict_of(const sh_json_value_t *config, const sh_nats_stream_copy_t *stream) {
    if (!has_subjects(config, stream->subjects)) return "exists with other subjects; edit or remove it at the broker";
    if (!sh_str_eq_c(text_of(config, "retention"), "limits")) return "exists, but its retention is not \"limits\"";
    if (!sh_str_eq_c(text_of(config, "storage"), "file")) return "exists, but its storage is not \"file\"";
    if (!sh_str_eq_c(text_of(config, "discard"), "new")) return "exists, but discards old messages when full; set it to discard \"new\"";
    return NULL;
}

/* Sets a number in the configuration as the broker told it; true when it was another one. */
static bool set_int(const sh_json_value_t *config, const char *key, int64_t wanted, sh_arena_t *arena) {
    sh_json_value_t *value = (sh_json_value_t *)sh_json_get(config, key);
    if (!value || value->kind != SH_JSON_INTEGER || value->i64 == wanted) return false;
    value->i64 = wanted;
    value->text = sh_str_of(sh_arena_printf(arena, "%" PRId64, wanted));
    return true;
}

static void check_config(sh_nats_t *nats, const sh_json_value_t *config, sh_arena_t *arena) {
    const sh_nats_stream_copy_t *stream = &nats->streams[nats->stream_checked];
    const char *conflict = config ? conflict_of(config, stream) : "the broker's answer has no configuration";
    if (conflict) {
        put_off(nats, conflict);
        return;
    }
    bool changed = set_int(config, "max_bytes", stream->wanted.bytes_max, arena);
    changed |= set_int(config, "max_age", stream->wanted.age_s_max * NS_PER_S, arena);
    changed |= set_int(config, "duplicate_window", window_s(&stream->wanted) * NS_PER_S, arena);
    if (!changed) {
        stream_done(nats);
        return;
    }
    sh_buf_t body; /* what else an operator has set (replicas, placement) goes back as it came */
    sh_buf_init(&body);
    sh_json_write(&body, config);
    ask(nats, "UPDATE", sh_buf_str(&body), on_written);
    sh_buf_dispose(&body);
}

static void on_info(void *data, int status, sh_nats_raw_t *raw) {
    sh_nats_t *nats = data;
    char text[SH_NATS_REASON_MAX] = "";
    if (nats->state != SH_NATS_CHECKING) return;
    if (status) {
        bool is_silent = status == SH_EUNAVAILABLE || status == SH_ETIMEDOUT;
        put_off(nats, is_silent ? "JetStream does not answer (is it enabled at the broker?)" : sh_err_text(status));
        return;
    }
    sh_arena_t arena;
    sh_arena_init(&arena);
    sh_json_value_t *answer = parse(&arena, raw);
    int code = error_of(answer, text, sizeof(text));
    if (code == STREAM_NOT_FOUND)
        create_stream(nats);
    else if (code)
        put_off(nats, text);
    else
        check_config(nats, sh_json_get(answer, "config"), &arena);
    sh_arena_dispose(&arena);
}

static void check_next(sh_nats_t *nats) {
    if (nats->stream_checked < nats->stream_count) {
        ask(nats, "INFO", SH_STR_NULL, on_info);
        return;
    }
    nats->checked_ms = uv_now(nats->loop);
    sh_nats_set_state(nats, SH_NATS_READY, "ready");
    sh_nats_consumers_up(nats);
}

void sh_nats_streams_check(sh_nats_t *nats) { check_next(nats); }

/* --- copies --- */

int sh_nats_streams_init(sh_nats_t *nats, const sh_nats_stream_t *streams, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!streams[i].name || !streams[i].subjects || !streams[i].subjects[0]) return SH_EINVAL;
        if (strlen(streams[i].name) > 64 || strpbrk(streams[i].name, " .*>/\\\t\r\n")) return SH_EINVAL;
        if (streams[i].age_s_max < 0 || streams[i].age_s_max > INT64_MAX / NS_PER_S) return SH_EINVAL;
        sh_nats_stream_copy_t *copy = &nats->streams[nats->stream_count++];
        uint32_t subjects = 0;
        while (streams[i].subjects[subjects]) subjects++;
        copy->name = sh_strdup(streams[i].name);
        copy->subjects = sh_calloc(subjects + 1, sizeof(*copy->subjects));
        for (uint32_t j = 0; j < subjects; j++) copy->subjects[j] = sh_strdup(streams[i].subjects[j]);
        copy->wanted = streams[i];
        if (copy->wanted.bytes_max <= 0) copy->wanted.bytes_max = -1;
    }
    return 0;
}

void sh_nats_streams_dispose(sh_nats_t *nats) {
    for (uint32_t i = 0; i < nats->stream_count; i++) {
        for (char **subject = nats->streams[i].subjects; *subject; subject++) free(*subject);
        free(nats->streams[i].subjects);
        free(nats->streams[i].name);
    }
    nats->stream_count = 0;
}

/* --- subjects --- */

static sh_str_t take_token(sh_str_t *rest) {
    const char *dot = memchr(rest->ptr, '.', rest->len);
    size_t len = dot ? (size_t)(dot - rest->ptr) : rest->len;
    sh_str_t token = sh_str(rest->ptr, len);
    size_t skip = dot ? len + 1 : len;
    *rest = sh_str(rest->ptr + skip, rest->len - skip);
    return token;
}

/* `*` is one token, `>` at the end one or more. */
static bool does_match(sh_str_t pattern, sh_str_t subject) {
    while (pattern.len && subject.len) {
        sh_str_t wanted = take_token(&pattern), token = take_token(&subject);
        if (sh_str_eq_c(wanted, ">")) return true;
        if (!sh_str_eq_c(wanted, "*") && !sh_str_eq(wanted, token)) return false;
    }
    return pattern.len == 0 && subject.len == 0;
}

bool sh_nats_streams_take(const sh_nats_t *nats, sh_str_t subject) {
    for (uint32_t i = 0; i < nats->stream_count; i++) {
        for (char **pattern = nats->streams[i].subjects; *pattern; pattern++)
            if (does_match(sh_str_of(*pattern), subject)) return true;
    }
    return false;
}
