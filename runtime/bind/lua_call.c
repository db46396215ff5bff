/* Request tables, answers, and the translation of everything a rule can raise.
 *
 * What touches Lua here after the task has ended runs on the vm's main state inside a protected call: a value that cannot be
 * encoded, or memory that runs out while encoding, is an internal error of one request and nothing else. */
#include "bind/lua_call.h"

#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERROR_TEXT_MAX = 256, BODY_BYTES = 2048 /* of most answers */ };

typedef struct running {
    sh_call_t *call;
    sh_call_done_fn fn;
    void *data;
} running_t;

/* ---- request */

static void push_str(lua_State *L, sh_str_t s) { lua_pushlstring(L, s.ptr ? s.ptr : "", s.len); }

static void set_str(lua_State *L, const char *key, sh_str_t value) {
    if (!value.len) return;
    push_str(L, value);
    lua_setfield(L, -2, key);
}

static const sh_schema_t *field_schema(const sh_schema_t *object, sh_str_t name) {
    for (uint32_t i = 0; object && i < object->field_count; i++)
        if (sh_str_eq(object->fields[i].name, name)) return object->fields[i].schema;
    return NULL;
}

/* Like sh_lua_json_push, but money and decimals become exact decimals. */
static void push_checked(lua_State *L, const sh_json_value_t *v, const sh_schema_t *schema) {
    luaL_checkstack(L, 4, "request");
    switch (v->kind) {
    case SH_JSON_OBJECT:
        lua_createtable(L, 0, (int)v->count);
        for (uint32_t i = 0; i < v->count; i++) {
            push_str(L, v->members[i].key);
            push_checked(L, &v->members[i].value, field_schema(schema, v->members[i].key));
            lua_rawset(L, -3);
        }
        break;
    case SH_JSON_ARRAY:
        lua_createtable(L, (int)v->count, 0);
        for (uint32_t i = 0; i < v->count; i++) {
            push_checked(L, &v->items[i], schema ? schema->items : NULL);
            lua_rawseti(L, -2, (int)i + 1);
        }
        break;
    case SH_JSON_STRING:
        if (schema && (schema->type == SH_SCHEMA_MONEY || schema->type == SH_SCHEMA_DECIMAL)) {
            sh_decimal_t d;
            if (sh_decimal_parse(v->text, &d) == SH_OK) {
                sh_lua_decimal_push(L, d);
                break;
            }
        }
        push_str(L, v->text);
        break;
    default: sh_lua_json_push(L, v);
    }
}

static int push_request(lua_State *L, void *data) {
    const sh_call_t *call = ((running_t *)data)->call;
    const sh_route_t *route = call->route;
    const sh_caller_t *caller = call->caller;
    lua_rawgeti(L, LUA_REGISTRYINDEX, route->handler);
    lua_createtable(L, 0, 9);
    if (route->param_count) {
        lua_createtable(L, 0, (int)route->param_count);
        for (uint32_t i = 0; i < route->param_count; i++) {
            push_str(L, call->params[i]);
            lua_setfield(L, -2, route->params[i]);
        }
        lua_setfield(L, -2, "params");
    }
    if (call->query) {
        push_checked(L, call->query, route->query);
        lua_setfield(L, -2, "query");
    }
    if (call->body) {
        push_checked(L, call->body, route->body);
        lua_setfield(L, -2, "body");
    }
    if (caller->user_id.len) {
        lua_createtable(L, 0, 3);
        set_str(L, "id", caller->user_id);
        set_str(L, "customer_id", caller->customer_id);
        lua_createtable(L, 0, (int)caller->role_count);
        for (uint32_t i = 0; i < caller->role_count; i++) {
            push_str(L, caller->roles[i]);
            lua_pushboolean(L, 1);
            lua_rawset(L, -3);
        }
        lua_setfield(L, -2, "roles");
        lua_setfield(L, -2, "user");
    }
    set_str(L, "id", call->request_id);
    lua_pushstring(L, caller->language);
    lua_setfield(L, -2, "language");
    set_str(L, "if_match", call->if_match);
    set_str(L, "idempotency_key", call->idempotency_key);
    set_str(L, "peer", call->peer);
    return 1;
}

/* What a rule returned or raised is read without its metamethods: its budget is over here. */
static void raw_field(lua_State *L, int table, const char *key) {
    if (table < 0) table = lua_gettop(L) + table + 1;
    lua_pushstring(L, key);
    lua_rawget(L, table);
}

/* ---- answer */

typedef struct encoding {
    sh_call_t *call;
    sh_reply_t *reply;
    bool is_too_large;
    char error[ERROR_TEXT_MAX];
} encoding_t;

static void add_header(sh_reply_t *reply, sh_arena_t *arena, sh_str_t name, sh_str_t value) {
    if (reply->header_count == SH_ARRAY_LEN(reply->headers)) return;
    reply->headers[reply->header_count++] = (sh_reply_header_t){sh_arena_str(arena, name), sh_arena_str(arena, value)};
}

static bool is_header_safe(sh_str_t s) {
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) return false;
    return true;
}

static bool is_header_name(sh_str_t s) {
    static const char marks[] = "!#$%&'*+-.^_`|~"; /* RFC 9110, 5.6.2 */
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && (!c || !strchr(marks, c))) return false;
    }
    return s.len > 0;
}

static void take_headers(lua_State *L, encoding_t *e) {
    raw_field(L, 1, "headers");
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        sh_str_t name, value;
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) luaL_error(L, "an answer's headers must be texts");
        lua_pushvalue(L, -1);
        value.ptr = lua_tolstring(L, -1, &value.len);
        name.ptr = lua_tolstring(L, -3, &name.len);
        if (!is_header_name(name)) luaL_error(L, "an answer's header has a name that is none");
        if (!is_header_safe(value)) luaL_error(L, "an answer's header holds a control character");
        add_header(e->reply, e->call->arena, name, value);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void encode_json(lua_State *L, int index, encoding_t *e) {
    sh_buf_reserve(&e->reply->body, BODY_BYTES);
    int rc = sh_lua_json_write(L, index, &e->reply->body, e->error, sizeof e->error);
    uint64_t most = sh_vm_budget(e->call->vm)->response_bytes_max;
    if (rc && (!most || e->reply->body.len <= most)) luaL_error(L, "the answer cannot be written as JSON: %s", e->error);
}

/* 1: what the handler returned; 2: the encoding. */
static int encode(lua_State *L) {
    encoding_t *e = lua_touserdata(L, 2);
    sh_reply_t *reply = e->reply;
    lua_settop(L, 1);
    reply->content_type = e->call->route->produces;
    if (lua_isnil(L, 1)) {
        reply->status = 204;
        reply->content_type = NULL;
        return 0;
    }
    bool is_answer = false;
    if (lua_istable(L, 1)) {
        lua_pushliteral(L, "__answer");
        lua_rawget(L, 1);
        is_answer = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    if (!is_answer) {
        encode_json(L, 1, e);
    } else {
        raw_field(L, 1, "status");
        if (lua_isnumber(L, -1)) reply->status = (int)lua_tointeger(L, -1);
        raw_field(L, 1, "content_type");
        if (lua_type(L, -1) == LUA_TSTRING) {
            reply->content_type = sh_arena_str(e->call->arena, sh_str_of(lua_tostring(L, -1))).ptr;
            if (!is_header_safe(sh_str_of(reply->content_type))) return luaL_error(L, "an answer's content_type holds a control character");
        }
        take_headers(L, e);
        raw_field(L, 1, "bytes");
        if (lua_isstring(L, -1)) {
            size_t n;
            const char *bytes = lua_tolstring(L, -1, &n);
            sh_buf_put(&reply->body, bytes, n);
        } else {
            raw_field(L, 1, "body");
            if (!lua_isnil(L, -1))
                encode_json(L, lua_gettop(L), e);
            else if (reply->status != 204)
                reply->status = reply->status == 200 ? 204 : reply->status;
        }
        if (reply->status < 200 || reply->status > 299) return luaL_error(L, "an answer's status must be 2xx; refuse with shama.refusal");
    }
    uint64_t most = sh_vm_budget(e->call->vm)->response_bytes_max;
    e->is_too_large = most && reply->body.len > most;
    return 0;
}

/* ---- what was raised */

typedef struct explaining {
    sh_vm_t *vm;
    const char *language;
    sh_arena_t *arena;
    sh_reply_t *reply;
} explaining_t;

static void take_refusal(lua_State *L, explaining_t *x, int value) {
    sh_reply_t *reply = x->reply;
    raw_field(L, value, "code");
    const char *code = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "INTERNAL";
    raw_field(L, value, "params");
    int params = lua_gettop(L);
    reply->code = sh_arena_str(x->arena, sh_str_of(code)).ptr;
    reply->status = sh_manifest_refusal_status(sh_vm_manifest(x->vm), code);
    if (!reply->status) { /* shared ones, like BAD_CURSOR or INVALID_TRANSITION, bring their own */
        raw_field(L, value, "status");
        reply->status = lua_isnumber(L, -1) ? (int)lua_tointeger(L, -1) : 0;
        lua_pop(L, 1);
        if (reply->status < 400 || reply->status > 499) {
            sh_log_error(sh_vm_log(x->vm), "a rule refused with a code that its manifest does not list", SH_LOG_C("service", sh_vm_service(x->vm)),
                         SH_LOG_C("code", code));
            reply->status = 500;
        }
    }
    sh_vm_push_message(L, code, x->language, params);
    if (strcmp(lua_tostring(L, -1), code) != 0) reply->detail = sh_arena_str(x->arena, sh_str_of(lua_tostring(L, -1)));
    lua_pop(L, 1);
    if (!lua_istable(L, params)) return;
    raw_field(L, params, "errors");
    if (!lua_istable(L, -1)) return;
    int errors = lua_gettop(L);
    sh_buf_t out = {0};
    sh_buf_put_byte(&out, '[');
    for (int i = 1;; i++) {
        lua_rawgeti(L, errors, i);
        if (!lua_istable(L, -1)) break;
        int entry = lua_gettop(L);
        raw_field(L, entry, "pointer");
        raw_field(L, entry, "code");
        const char *pointer = lua_tostring(L, -2), *entry_code = lua_tostring(L, -1);
        sh_vm_push_message(L, entry_code ? entry_code : code, x->language, entry);
        sh_buf_put_c(&out, i > 1 ? ",{\"pointer\":" : "{\"pointer\":");
        sh_buf_put_json(&out, sh_str_of(pointer ? pointer : ""));
        sh_buf_put_lit(&out, ",\"code\":");
        sh_buf_put_json(&out, sh_str_of(entry_code ? entry_code : code));
        sh_buf_put_lit(&out, ",\"detail\":");
        sh_buf_put_json(&out, sh_str_of(lua_tostring(L, -1)));
        sh_buf_put_byte(&out, '}');
        lua_settop(L, errors);
    }
    sh_buf_put_byte(&out, ']');
    reply->errors = sh_arena_str(x->arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
}

static void take_database_error(explaining_t *x, const char *kind, const char *constraint) {
    static const struct {
        const char *kind, *code;
        int status;
        uint32_t retry_after_s;
    } kinds[] = {
        {"unique", "DUPLICATE", 409, 0},         {"foreign_key", "UNKNOWN_REFERENCE", 422, 0},    {"serialization", "CONCURRENT_CHANGE", 409, 0},
        {"timeout", "DATABASE_TIMEOUT", 503, 1}, {"unavailable", "DATABASE_UNAVAILABLE", 503, 1}, {"maybe", "OUTCOME_UNKNOWN", 503, 1},
        {"limit", "OVERLOADED", 503, 1},         {"budget", "BUDGET_EXCEEDED", 503, 1},
    };
    sh_reply_t *reply = x->reply;
    const char *code = sh_manifest_constraint(sh_vm_manifest(x->vm), constraint);
    if (code) {
        reply->code = code;
        reply->status = sh_manifest_refusal_status(sh_vm_manifest(x->vm), code);
        return;
    }
    for (size_t i = 0; i < SH_ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) != 0) continue;
        reply->code = kinds[i].code;
        reply->status = kinds[i].status;
        reply->retry_after_s = kinds[i].retry_after_s;
    }
}

/* 1: what was raised; 2: explaining_t. */
static int explain(lua_State *L) {
    explaining_t *x = lua_touserdata(L, 2);
    lua_settop(L, 1);
    if (!lua_istable(L, 1)) return 0;
    lua_pushliteral(L, "__refusal");
    lua_rawget(L, 1);
    bool is_refusal = lua_toboolean(L, -1);
    lua_pushliteral(L, "kind");
    lua_rawget(L, 1);
    lua_pushliteral(L, "constraint");
    lua_rawget(L, 1);
    if (is_refusal) {
        take_refusal(L, x, 1);
    } else if (lua_type(L, -2) == LUA_TSTRING) {
        take_database_error(x, lua_tostring(L, -2), lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "");
        if (x->reply->code && !x->reply->detail.ptr) {
            sh_vm_push_message(L, x->reply->code, x->language, 0);
            if (strcmp(lua_tostring(L, -1), x->reply->code) != 0) x->reply->detail = sh_arena_str(x->arena, sh_str_of(lua_tostring(L, -1)));
        }
    }
    return 0;
}

static void to_internal(sh_reply_t *reply) {
    sh_buf_dispose(&reply->body);
    reply->header_count = 0;
    reply->status = 500;
    reply->code = "INTERNAL";
}

void sh_lua_call_explain(sh_vm_t *vm, lua_State *L, const char *language, sh_arena_t *arena, sh_reply_t *reply) {
    lua_State *M = sh_vm_lua(vm);
    explaining_t x = {vm, language, arena, reply};
    int top = lua_gettop(M);
    if (L != M)
        lua_xmove(L, M, 1);
    else
        top--;
    lua_pushcfunction(M, explain);
    lua_insert(M, -2);
    lua_pushlightuserdata(M, &x);
    if (lua_pcall(M, 2, 0, 0)) reply->code = NULL;
    lua_settop(M, top);
    if (!reply->code) to_internal(reply);
}

/* Who, where and the traceback: what an analyst looks for after a 500. */
static void log_error(sh_task_t *task, lua_State *L) {
    sh_vm_t *vm = sh_task_vm(task);
    lua_State *M = sh_vm_lua(vm);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    char shown[ERROR_TEXT_MAX];
    if (!text) {
        snprintf(shown, sizeof shown, "a %s value was raised", luaL_typename(L, -1));
        if (lua_istable(L, -1)) {
            lua_pushliteral(L, "message");
            lua_rawget(L, -2);
            if (lua_type(L, -1) == LUA_TSTRING) snprintf(shown, sizeof shown, "%s", lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        text = shown;
    }
    luaL_traceback(M, L, NULL, 0);
    sh_log_error(sh_vm_log(vm), "a rule raised an error", SH_LOG_C("service", sh_vm_service(vm)), SH_LOG_C("route", sh_task_name(task)),
                 SH_LOG_STR("request_id", sh_task_request_id(task)), SH_LOG_C("error", text), SH_LOG_C("traceback", lua_tostring(M, -1)),
                 SH_LOG_C("rules", sh_vm_version(vm)));
    lua_pop(M, 1);
}

static void explain_status(sh_task_t *task, int status, sh_reply_t *reply) {
    sh_vm_t *vm = sh_task_vm(task);
    reply->status = 503;
    reply->retry_after_s = 1;
    switch (status) {
    case SH_EBUDGET: reply->code = "BUDGET_EXCEEDED"; break;
    case SH_EMEMORY: reply->code = "MEMORY_EXCEEDED"; break;
    case SH_ETIMEDOUT: reply->code = "DEADLINE_EXCEEDED"; break;
    default: reply->code = "CANCELED"; return;
    }
    sh_log_error(sh_vm_log(vm), "a rule was ended", SH_LOG_C("service", sh_vm_service(vm)), SH_LOG_C("route", sh_task_name(task)),
                 SH_LOG_STR("request_id", sh_task_request_id(task)), SH_LOG_C("code", reply->code),
                 SH_LOG_I64("lua_us", (int64_t)(sh_task_account(task)->lua_ns / 1000)),
                 SH_LOG_C("traceback", status == SH_EBUDGET || status == SH_EMEMORY ? sh_vm_traceback(vm) : ""),
                 SH_LOG_C("rules", sh_vm_version(vm)));
}

static void on_task_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    running_t *r = data;
    sh_call_t *call = r->call;
    sh_reply_t reply = {.status = call->route->status};
    lua_State *M = sh_vm_lua(call->vm);
    call->task = NULL;
    if (status == SH_OK) {
        encoding_t e = {.call = call, .reply = &reply};
        int top = lua_gettop(M);
        lua_settop(L, nresults ? 1 : 0);
        if (!nresults) lua_pushnil(L);
        lua_pushcfunction(M, encode);
        lua_xmove(L, M, 1);
        lua_pushlightuserdata(M, &e);
        if (lua_pcall(M, 2, 0, 0)) {
            const char *text = lua_type(M, -1) == LUA_TSTRING ? lua_tostring(M, -1) : "the answer cannot be encoded";
            sh_log_error(sh_vm_log(call->vm), "an answer could not be written", SH_LOG_C("service", sh_vm_service(call->vm)),
                         SH_LOG_C("route", sh_task_name(task)), SH_LOG_STR("request_id", call->request_id), SH_LOG_C("error", text));
            to_internal(&reply);
        } else if (e.is_too_large) {
            sh_log_error(sh_vm_log(call->vm), "an answer is larger than budget.response_bytes", SH_LOG_C("service", sh_vm_service(call->vm)),
                         SH_LOG_C("route", sh_task_name(task)), SH_LOG_STR("request_id", call->request_id),
                         SH_LOG_I64("bytes", (int64_t)reply.body.len));
            to_internal(&reply);
            reply.status = 503;
            reply.code = "BUDGET_EXCEEDED";
        }
        lua_settop(M, top);
    } else if (status == SH_ELUA) {
        lua_pushvalue(L, -1);
        sh_lua_call_explain(call->vm, L, call->caller->language, call->arena, &reply);
        if (reply.status >= 500) log_error(task, L);
    } else {
        explain_status(task, status, &reply);
    }
    reply.used = *sh_task_account(task);
    sh_call_done_fn fn = r->fn;
    void *fn_data = r->data;
    fn(fn_data, call, &reply);
}

void sh_lua_call_start(sh_call_t *call, sh_call_done_fn fn, void *data) {
    running_t *r = sh_arena_alloc(call->arena, sizeof *r);
    *r = (running_t){call, fn, data};
    const sh_task_opts_t opts = {
        .kind = SH_TASK_REQUEST,
        .name = call->route->label,
        .request_id = call->request_id,
        .traceparent = call->traceparent,
        .user_id = call->caller->user_id,
        .deadline_ms = sh_vm_budget(call->vm)->deadline_ms,
    };
    sh_task_t *task = sh_task_start(call->vm, &opts, push_request, on_task_done, r);
    if (task) call->task = task; /* else `call` may be gone */
}
