/* Builds the list of events for shama.consumer, starts the task, and reads its outcome. */
#include "bind/lua_events.h"

#include "base/err.h"
#include "bind/lua_context.h"
#include "bind/lua_protobuf.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

enum { ERROR_TEXT_MAX = 512, ID_MAX = 37 };

typedef struct running running_t;

/* What the events of a job hold of it: userdata, so that a handler which keeps an event longer meets an error and not what was freed. */
typedef struct handle {
    running_t *running; /* NULL once the job is done */
} handle_t;

struct running {
    sh_vm_t *vm;
    const sh_subscription_t *subscription;
    sh_nats_msg_t *const *messages;
    uint32_t count;
    const char *burial_error;
    handle_t *handle; /* NULL: none, or collected */
    sh_lua_events_done_fn fn;
    void *data;
};

static void set_str(lua_State *L, const char *key, sh_str_t value) {
    lua_pushlstring(L, value.ptr ? value.ptr : "", value.len);
    lua_setfield(L, -2, key);
}

/* The event's id, as Postgres writes it, to be compared with what it returns. What was published by somebody else, without one, gets one from its
 * place in the stream, the same each time. */
static sh_str_t id_of(sh_nats_msg_t *msg, char made[ID_MAX]) {
    sh_str_t id = sh_nats_msg_header(msg, "Nats-Msg-Id");
    if (!sh_str_is_uuid(id)) {
        snprintf(made, ID_MAX, "00000000-0000-8000-8000-%012" PRIx64, sh_nats_msg_sequence(msg) & UINT64_C(0xffffffffffff));
        return sh_str_of(made);
    }
    for (size_t i = 0; i < id.len; i++) made[i] = id.ptr[i] >= 'A' && id.ptr[i] <= 'F' ? (char)(id.ptr[i] + 32) : id.ptr[i];
    return sh_str(made, id.len);
}

/* ---- what an event's headers say: looked up when a handler asks, which few do */

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

static void push_header(lua_State *L, sh_nats_msg_t *msg, const char *name) {
    sh_str_t value = sh_nats_msg_header(msg, name);
    lua_pushlstring(L, value.ptr ? value.ptr : "", value.len);
}

static void push_timestamp(lua_State *L, sh_nats_msg_t *msg) {
    int64_t sent_ms;
    if (sh_str_to_i64(sh_nats_msg_header(msg, "Shama-Time"), &sent_ms) != 0) sent_ms = sh_nats_msg_time_ms(msg);
    lua_pushnumber(L, (lua_Number)sent_ms);
}

/* The message of the event table at 1, or NULL. */
static sh_nats_msg_t *message_of(lua_State *L, const running_t *r) {
    char made[ID_MAX];
    sh_str_t id;
    lua_pushliteral(L, "id");
    lua_rawget(L, 1);
    id.ptr = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &id.len) : NULL;
    for (uint32_t i = 0; id.ptr && i < r->count; i++)
        if (sh_str_eq(id_of(r->messages[i], made), id)) return r->messages[i];
    return NULL;
}

/* __index of events: (event, key), for what is not in the table. What was found stays there. */
static int event_index(lua_State *L) {
    const handle_t *handle = lua_touserdata(L, lua_upvalueindex(1));
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    bool is_type = strcmp(key, "type") == 0, is_time = strcmp(key, "timestamp") == 0, is_headers = strcmp(key, "headers") == 0;
    if (!is_type && !is_time && !is_headers && strcmp(key, "correlation_id") != 0) return 0;
    if (!handle->running) return luaL_error(L, "an event's %s can be asked for only while its handler runs", key);
    luaL_checktype(L, 1, LUA_TTABLE);
    sh_nats_msg_t *msg = message_of(L, handle->running);
    if (!msg) return 0;
    lua_settop(L, 2);
    if (is_headers)
        push_headers(L, msg);
    else if (is_time)
        push_timestamp(L, msg);
    else
        push_header(L, msg, is_type ? "Shama-Type" : "Shama-Correlation-Id");
    lua_pushvalue(L, 3);
    lua_insert(L, 2);
    lua_rawset(L, 1);
    return 1;
}

static int handle_gc(lua_State *L) {
    const handle_t *handle = lua_touserdata(L, 1);
    if (handle->running) handle->running->handle = NULL;
    return 0;
}

/* Pushes the metatable of this job's events. */
static void push_metatable(lua_State *L, running_t *r) {
    lua_createtable(L, 0, 2);
    handle_t *handle = lua_newuserdata(L, sizeof *handle);
    handle->running = NULL; /* until it can be collected properly */
    if (luaL_newmetatable(L, "shama.events.handle")) {
        lua_pushcfunction(L, handle_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    handle->running = r;
    r->handle = handle;
    lua_pushcclosure(L, event_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

/* ---- payloads */

/* How the payloads of one subject are decoded; the next event's subject is most often the same. */
typedef struct shape {
    sh_str_t subject;
    const sh_protobuf_message_t *message; /* NULL: none is declared */
    sh_lua_protobuf_fields_t only;        /* where the subscription names fields */
    int metatable;                        /* on the stack; 0 without fields */
} shape_t;

static void shape_of(shape_t *shape, const running_t *r, sh_str_t subject) {
    const sh_protobuf_t *protobuf = sh_lua_context_of(r->vm)->protobuf;
    if (sh_str_eq(shape->subject, subject)) return;
    shape->subject = subject;
    shape->message = protobuf ? sh_protobuf_of_subject(protobuf, subject) : NULL;
    shape->only = (sh_lua_protobuf_fields_t){0};
    for (uint32_t i = 0; shape->message && i < r->subscription->field_count; i++)
        sh_lua_protobuf_fields_add(&shape->only, shape->message, sh_str_of(r->subscription->fields[i]));
}

/* __index of payloads whose subscription names fields: (payload, key). A field of those may be unset; another one was not decoded, and to take it
 * for unset would be wrong. */
static int payload_index(lua_State *L) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_toboolean(L, -1) || lua_type(L, 2) != LUA_TSTRING) return 0;
    return luaL_error(L, "the payload's \"%s\" was not decoded: the subscription's `fields` do not name it", lua_tostring(L, 2));
}

static void push_payload_metatable(lua_State *L, const sh_subscription_t *s) {
    lua_createtable(L, 0, 2);
    lua_createtable(L, 0, (int)s->field_count);
    for (uint32_t i = 0; i < s->field_count; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, s->fields[i]);
    }
    lua_pushcclosure(L, payload_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

/* Sets `payload`, or `undecodable`, in the event on top. */
static void set_payload(lua_State *L, const shape_t *shape, sh_nats_msg_t *msg) {
    if (!shape->message) {
        lua_pushfstring(L, "no .proto file declares the message of \"%s\"", sh_nats_msg_subject(msg).ptr);
        lua_setfield(L, -2, "undecodable");
        return;
    }
    if (sh_lua_protobuf_push(L, shape->message, shape->metatable ? &shape->only : NULL, sh_nats_msg_payload(msg)) != 0) {
        lua_pushfstring(L, "the payload is no %s", sh_protobuf_name(shape->message).ptr);
        lua_setfield(L, -2, "undecodable");
        return;
    }
    if (shape->metatable) {
        lua_pushvalue(L, shape->metatable);
        lua_setmetatable(L, -2);
    }
    lua_setfield(L, -2, "payload");
}

/* ---- events */

/* Pushes the event but for what it carries; its metatable is at `metatable`. */
static void push_event(lua_State *L, sh_nats_msg_t *msg, int metatable) {
    char made[ID_MAX];
    luaL_checkstack(L, 8, "event");
    lua_createtable(L, 0, 8);
    set_str(L, "id", id_of(msg, made));
    set_str(L, "subject", sh_nats_msg_subject(msg));
    lua_pushnumber(L, sh_nats_msg_deliveries(msg));
    lua_setfield(L, -2, "deliveries");
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
}

static void push_options(lua_State *L, const running_t *r) {
    lua_createtable(L, 0, 4);
    set_str(L, "service", sh_str_of(sh_vm_service(r->vm)));
    set_str(L, "consumer", sh_str_of(r->subscription->durable));
    set_str(L, "subject", sh_str_of(r->subscription->subject));
    lua_pushboolean(L, r->subscription->batch);
    lua_setfield(L, -2, "batch");
}

/* Pushes the list of the job's events. */
static void push_events(lua_State *L, running_t *r) {
    shape_t shape = {0};
    push_metatable(L, r);
    int metatable = lua_gettop(L);
    if (r->subscription->field_count) {
        push_payload_metatable(L, r->subscription);
        shape.metatable = lua_gettop(L);
    }
    lua_createtable(L, (int)r->count, 0);
    for (uint32_t i = 0; i < r->count; i++) {
        push_event(L, r->messages[i], metatable);
        shape_of(&shape, r, sh_nats_msg_subject(r->messages[i]));
        set_payload(L, &shape, r->messages[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_replace(L, metatable);
    lua_settop(L, metatable);
}

/* Pushes the event that is buried: as bytes, since it may be one that cannot be decoded. */
static void push_buried(lua_State *L, running_t *r) {
    push_metatable(L, r);
    push_event(L, r->messages[0], lua_gettop(L));
    lua_remove(L, -2);
    set_str(L, "raw", sh_nats_msg_payload(r->messages[0]));
}

static int push_call(lua_State *L, void *data) {
    running_t *r = data;
    sh_vm_push_function(L, "module");
    lua_pushliteral(L, "shama.consumer");
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1)) return luaL_error(L, "the bundle has no lua/shama/consumer.lua");
    lua_getfield(L, -1, r->burial_error ? "bury" : "deliver");
    lua_remove(L, -2);
    push_options(L, r);
    if (r->burial_error) {
        push_buried(L, r);
        lua_pushstring(L, r->burial_error);
        return 3;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->subscription->handler);
    push_events(L, r);
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
    if (r.handle) r.handle->running = NULL;
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
    *r = (running_t){
        .vm = vm, .subscription = subscription, .messages = messages, .count = count, .burial_error = burial_error, .fn = fn, .data = data};
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
