/* Encoding events and putting them into one statement. */
#include "bind/lua_outbox.h"

#include "base/err.h"
#include "base/time.h"
#include "bind/lua_context.h"
#include "bind/lua_protobuf.h"
#include "codec/crypto.h"
#include "net/pg_rows.h"

#include <lauxlib.h>

enum { ERROR_TEXT_MAX = 256 };

struct sh_outbox_event {
    sh_outbox_event_t *next;
    char id[SH_UUID_LEN + 1];
    const char *subject, *aggregate;
    const char *headers; /* JSON */
    const char *payload; /* \x and hex digits */
};

void sh_outbox_init(sh_outbox_t *o) {
    *o = (sh_outbox_t){0};
    sh_arena_init(&o->arena);
}

void sh_outbox_dispose(sh_outbox_t *o) {
    sh_arena_dispose(&o->arena);
    sh_outbox_init(o);
}

static const char *make_headers(sh_outbox_t *o, sh_task_t *task, const char *service, const char *id, sh_str_t type, int64_t now_us) {
    sh_buf_t b = {0};
    sh_buf_put_lit(&b, "{\"Nats-Msg-Id\":\"");
    sh_buf_put_c(&b, id);
    sh_buf_put_lit(&b, "\",\"Shama-Type\":");
    sh_buf_put_json(&b, type);
    sh_buf_put_lit(&b, ",\"Shama-Source\":");
    sh_buf_put_json(&b, sh_str_of(service));
    sh_buf_put_lit(&b, ",\"Shama-Correlation-Id\":");
    sh_buf_put_json(&b, sh_task_request_id(task));
    sh_buf_put_lit(&b, ",\"Shama-Time\":\"");
    sh_buf_put_i64(&b, now_us / 1000);
    sh_buf_put_byte(&b, '"');
    if (sh_task_traceparent(task).len) {
        sh_buf_put_lit(&b, ",\"traceparent\":");
        sh_buf_put_json(&b, sh_task_traceparent(task));
    }
    sh_buf_put_byte(&b, '}');
    const char *text = sh_arena_str(&o->arena, sh_buf_str(&b)).ptr;
    sh_buf_dispose(&b);
    return text;
}

void sh_outbox_add(lua_State *L, sh_outbox_t *o, sh_task_t *task, const char *subject, const char *aggregate, int payload) {
    char error[ERROR_TEXT_MAX];
    sh_vm_t *vm = sh_task_vm(task);
    sh_lua_context_t *c = sh_lua_context_of(vm);
    const sh_manifest_t *manifest = sh_vm_manifest(vm);
    if (manifest && !sh_manifest_may_publish(manifest, subject)) luaL_error(L, "the manifest's `publishes` does not list \"%s\"", subject);
    const sh_protobuf_message_t *message = c->protobuf ? sh_protobuf_of_subject(c->protobuf, sh_str_of(subject)) : NULL;
    if (!message) luaL_error(L, "there is no message for \"%s\" in config/proto", subject);
    sh_str_t bytes;
    if (sh_lua_protobuf_encode(L, payload, message, &bytes, error, sizeof error)) luaL_error(L, "event %s: %s", subject, error);
    sh_task_account(task)->sent_bytes += 2 * bytes.len;
    if (sh_task_account(task)->sent_bytes > sh_vm_budget(vm)->memory_bytes)
        luaL_error(L, "the task's events and parameters are larger than budget.memory_mb allows");
    sh_outbox_event_t *e = SH_ARENA_NEW(&o->arena, sh_outbox_event_t);
    int64_t now_us = sh_time_wall_us();
    sh_uuid_v7(c->uuids, now_us, e->id);
    e->subject = sh_arena_str(&o->arena, sh_str_of(subject)).ptr;
    e->aggregate = sh_arena_str(&o->arena, sh_str_of(aggregate)).ptr;
    char *hex = sh_arena_alloc(&o->arena, bytes.len * 2 + 3);
    hex[0] = '\\';
    hex[1] = 'x';
    sh_hex_encode(bytes.ptr, bytes.len, hex + 2);
    hex[2 + 2 * bytes.len] = 0;
    e->payload = hex;
    e->headers = make_headers(o, task, c->service, e->id, sh_protobuf_short_name(message), now_us);
    if (o->last)
        o->last->next = e;
    else
        o->first = e;
    o->last = e;
    o->count++;
}

enum { COLUMNS = 5 };

static const char *column(const sh_outbox_event_t *e, int i) {
    const char *const columns[COLUMNS] = {e->id, e->subject, e->aggregate, e->headers, e->payload};
    return columns[i];
}

/* The INSERT into this schema's outbox that goes on with `rest`. */
static sh_str_t insert_into(sh_arena_t *arena, const char *schema, sh_str_t rest) {
    static const char before[] = "INSERT INTO ", after[] = ".outbox (event_id, subject, aggregate, headers, payload) ";
    size_t len = strlen(schema), before_len = sizeof before - 1, after_len = sizeof after - 1;
    sh_str_t sql = {.len = before_len + len + after_len + rest.len};
    char *at = sh_arena_alloc(arena, sql.len + 1);
    sql.ptr = at;
    at = (char *)memcpy(at, before, before_len) + before_len;
    at = (char *)memcpy(at, schema, len) + len;
    at = (char *)memcpy(at, after, after_len) + after_len;
    memcpy(at, rest.ptr, rest.len + 1); /* with its NUL */
    return sql;
}

void sh_outbox_statement(const sh_outbox_t *o, const char *schema, sh_arena_t *arena, sh_pg_statement_t *out) {
    const char **params = sh_arena_alloc(arena, COLUMNS * sizeof *params);
    out->param_count = COLUMNS;
    out->params = params;
    if (o->count == 1) {
        out->sql = insert_into(arena, schema, SH_STR("VALUES ($1, $2, $3, $4, $5)"));
        for (int i = 0; i < COLUMNS; i++) params[i] = column(o->first, i);
        return;
    }
    out->sql = insert_into(arena, schema, SH_STR("SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bytea[])"));
    sh_buf_t array = {0};
    for (int i = 0; i < COLUMNS; i++) {
        sh_buf_clear(&array);
        sh_buf_put_byte(&array, '{');
        for (const sh_outbox_event_t *e = o->first; e; e = e->next) sh_pg_array_put(&array, sh_str_of(column(e, i)));
        sh_buf_put_byte(&array, '}');
        params[i] = sh_arena_str(arena, sh_buf_str(&array)).ptr;
    }
    sh_buf_dispose(&array);
}
