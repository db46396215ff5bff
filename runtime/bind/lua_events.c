/* Builds the list of events for shama.consumer, starts the task, and reads its outcome. */
#include "bind/lua_events.h"

#include "base/err.h"
#include "bind/lua_context.h"
#include "bind/lua_protobuf.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

enum { ERROR_TEXT_MAX = 512 };

typedef struct running {
    sh_vm_t *vm;
    const sh_subscription_t *subscription;
    sh_nats_msg_t *const *messages; /* until the task has begun */
    uint32_t count;
    const char *burial_error;
    sh_lua_events_done_fn fn;
    void *data;
} running_t;

static void set_str(lua_State *L, const char *key, sh_str_t value) {
    lua_pushlstring(L, value.ptr ? value.ptr : "", value.len);
    lua_setfield(L, -2, key);
}

/* The event's id. What was published by somebody else, without one, gets one from its place in the stream, the same each time. */
static void push_id(lua_State *L, sh_nats_msg_t *msg) {
    sh_str_t id = sh_nats_msg_header(msg, "Nats-Msg-Id");
    char made[37];
    if (!sh_str_is_uuid(id)) {
        snprintf(made, sizeof(made), "00000000-0000-8000-8000-%012" PRIx64, sh_nats_msg_sequence(msg) & UINT64_C(0xffffffffffff));
        id = sh_str_of(made);
    } else {
        for (size_t i = 0; i < id.len; i++) made[i] = id.ptr[i] >= 'A' && id.ptr[i] <= 'F' ? (char)(id.ptr[i] + 32) : id.ptr[i];
        id = sh_str(made, id.len); /* as Postgres writes it, to be compared with what it returns */
    }
    lua_pushlstring(L, id.ptr, id.len);
}

static void push_headers(lua_State *L, sh_nats_msg_t *msg) {
    sh_nats_header_t headers[SH_NATS_HEADERS_MAX];
    uint32_t count = sh_nats_msg_headers(msg, headers, SH_NATS_HEADERS_MAX);
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(L, headers[i].name.ptr, headers[i].name.len);
        lua_pushlstring(L, headers[i].value.ptr, headers[i].value.len);
        lua_rawset(L, -3);
    }
}

/* Sets `payload`, or `undecodable`, in the event on top. */
static void set_payload(lua_State *L, sh_vm_t *vm, sh_nats_msg_t *msg) {
    const sh_protobuf_t *protobuf = sh_lua_context_of(vm)->protobuf;
    const sh_protobuf_message_t *message = protobuf ? sh_protobuf_of_subject(protobuf, sh_nats_msg_subject(msg)) : NULL;
    if (!message) {
        lua_pushfstring(L, "no .proto file declares the message of \"%s\"", sh_nats_msg_subject(msg).ptr);
        lua_setfield(L, -2, "undecodable");
        return;
    }
    if (sh_lua_protobuf_push(L, message, sh_nats_msg_payload(msg)) != 0) {
        lua_pushfstring(L, "the payload is no %s", sh_protobuf_name(message).ptr);
        lua_setfield(L, -2, "undecodable");
        return;
    }
    lua_setfield(L, -2, "payload");
}

static void push_event(lua_State *L, const running_t *r, sh_nats_msg_t *msg) {
    int64_t sent_ms;
    luaL_checkstack(L, 8, "event");
    if (sh_str_to_i64(sh_nats_msg_header(msg, "Shama-Time"), &sent_ms) != 0) sent_ms = sh_nats_msg_time_ms(msg);
    lua_createtable(L, 0, 10);
    push_id(L, msg);
    lua_setfield(L, -2, "id");
    set_str(L, "subject", sh_nats_msg_subject(msg));
    set_str(L, "type", sh_nats_msg_header(msg, "Shama-Type"));
    set_str(L, "correlation_id", sh_nats_msg_header(msg, "Shama-Correlation-Id"));
    push_headers(L, msg);
    lua_setfield(L, -2, "headers");
    lua_pushnumber(L, (lua_Number)sent_ms);
    lua_setfield(L, -2, "timestamp");
    lua_pushnumber(L, sh_nats_msg_deliveries(msg));
    lua_setfield(L, -2, "deliveries");
    if (r->burial_error)
        set_str(L, "raw", sh_nats_msg_payload(msg));
    else
        set_payload(L, r->vm, msg);
}

static void push_options(lua_State *L, const running_t *r) {
    lua_createtable(L, 0, 4);
    set_str(L, "service", sh_str_of(sh_vm_service(r->vm)));
    set_str(L, "consumer", sh_str_of(r->subscription->durable));
    set_str(L, "subject", sh_str_of(r->subscription->subject));
    lua_pushboolean(L, r->subscription->batch);
    lua_setfield(L, -2, "batch");
}

static int push_call(lua_State *L, void *data) {
    const running_t *r = data;
    sh_vm_push_function(L, "module");
    lua_pushliteral(L, "shama.consumer");
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1)) return luaL_error(L, "the bundle has no lua/shama/consumer.lua");
    lua_getfield(L, -1, r->burial_error ? "bury" : "deliver");
    lua_remove(L, -2);
    push_options(L, r);
    if (r->burial_error) {
        push_event(L, r, r->messages[0]);
        lua_pushstring(L, r->burial_error);
        return 3;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->subscription->handler);
    lua_createtable(L, (int)r->count, 0);
    for (uint32_t i = 0; i < r->count; i++) {
        push_event(L, r, r->messages[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 3;
}

/* Nothing here may raise: it runs outside of any protected call, so values are read and not converted. */
static void copy_text(lua_State *L, int index, char *out, size_t size) {
    size_t len;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &len) : NULL;
    snprintf(out, size, "%s", text ? text : "an error that is no text");
}

static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    running_t r = *(running_t *)data;
    char error[ERROR_TEXT_MAX] = "";
    (void)task;
    free(data);
    if (status == SH_ELUA) {
        copy_text(L, -1, error, sizeof(error));
    } else if (status == SH_EBUDGET || status == SH_EMEMORY) {
        const char *where = sh_vm_traceback(r.vm);
        snprintf(error, sizeof(error), "%s: %s", sh_err_text(status), where ? where : "");
    } else if (status == 0 && (nresults < 1 || !lua_toboolean(L, -nresults))) {
        const char *kind = nresults >= 2 && lua_type(L, 1 - nresults) == LUA_TSTRING ? lua_tostring(L, 1 - nresults) : "";
        status = strcmp(kind, "unavailable") == 0 ? SH_EUNAVAILABLE : strcmp(kind, "budget") == 0 ? SH_EBUDGET : SH_ELUA;
        if (nresults >= 3) copy_text(L, 2 - nresults, error, sizeof(error));
    }
    r.fn(r.data, status, error[0] ? error : NULL);
}

void sh_lua_events_start(sh_vm_t *vm, const sh_subscription_t *subscription, sh_nats_msg_t *const *messages, uint32_t count, const char *burial_error,
                         sh_lua_events_done_fn fn, void *data) {
    SH_ASSERT(count > 0);
    running_t *r = sh_alloc(sizeof(*r));
    *r = (running_t){vm, subscription, messages, count, burial_error, fn, data};
    /* A batch belongs to many requests; the first one stands for it in log lines. */
    const sh_task_opts_t opts = {
        .kind = SH_TASK_EVENT,
        .name = subscription->durable,
        .request_id = sh_nats_msg_header(messages[0], "Shama-Correlation-Id"),
        .traceparent = sh_nats_msg_header(messages[0], "traceparent"),
        .deadline_ms = sh_vm_budget(vm)->event_deadline_ms,
    };
    sh_task_start(vm, &opts, push_call, on_done, r);
}
