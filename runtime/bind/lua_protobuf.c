/* Walks a Lua table along a message's fields, and a decoded message into a Lua table. */
#include "bind/lua_protobuf.h"

#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers up to here are told from their neighbours in a double. */
#define EXACT_MAX 9007199254740991.0

enum { STACK_PER_LEVEL = 8, INT64_TEXT_MAX = 24 };

/* Where a value stands; frames of the walk point to the ones above them. */
typedef struct place {
    const struct place *above;
    const char *name; /* NULL: the message itself */
    size_t index;     /* from 1; 0: not in a list */
} place_t;

typedef struct encoder {
    lua_State *L;
    sh_arena_t *arena;
    const sh_protobuf_message_t *message; /* the outermost */
    size_t values;
    char *err;
    size_t err_size;
} encoder_t;

static void put_place(sh_buf_t *out, const place_t *at) {
    if (at->above) put_place(out, at->above);
    if (!at->name) return;
    if (out->len) sh_buf_put_byte(out, '.');
    sh_buf_put_c(out, at->name);
    if (at->index) sh_buf_printf(out, "[%zu]", at->index);
}

/* Writes "place: sentence"; the message's name stands for the outermost place. */
SH_PRINTF(3, 4) static int refuse(encoder_t *e, const place_t *at, const char *fmt, ...) {
    sh_buf_t where = {0};
    char sentence[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    put_place(&where, at);
    snprintf(e->err, e->err_size, "%s: %s", where.len ? sh_buf_c(&where) : sh_protobuf_short_name(e->message).ptr, sentence);
    sh_buf_dispose(&where);
    return SH_EINVAL;
}

/* What a value is, in the words of the table in the header. */
static const char *kind_text(lua_State *L, int idx) {
    sh_decimal_t d;
    if (sh_lua_decimal_test(L, idx, &d)) return "decimal";
    return sh_lua_json_is_null(L, idx) ? "null" : luaL_typename(L, idx);
}

static int refuse_type(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int idx) {
    return refuse(e, at, "expected %s, got %s", sh_protobuf_type_text(field), kind_text(e->L, idx));
}

/* ---- scalars */

static int read_whole_text(const sh_protobuf_field_t *field, sh_str_t text, sh_protobuf_value_t *out) {
    if (field->kind == SH_PROTOBUF_INT64) return sh_str_to_i64(text, &out->i64);
    uint64_t n = 0;
    if (text.len == 0 || (text.len > 1 && text.ptr[0] == '0')) return SH_EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, digit, &n)) return SH_EINVAL;
    }
    out->u64 = n;
    return SH_OK;
}

static int read_whole(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int idx, sh_protobuf_value_t *out) {
    bool is_wide = field->kind == SH_PROTOBUF_INT64 || field->kind == SH_PROTOBUF_UINT64;
    bool is_signed = field->kind == SH_PROTOBUF_INT64 || field->kind == SH_PROTOBUF_INT32;
    const char *type = sh_protobuf_type_text(field);
    if (is_wide && lua_type(e->L, idx) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(e->L, idx, &len);
        if (read_whole_text(field, sh_str(text, len), out)) return refuse(e, at, "\"%.40s\" is no %s", text, type);
        return SH_OK;
    }
    if (lua_type(e->L, idx) != LUA_TNUMBER) return refuse_type(e, at, field, idx);
    double n = lua_tonumber(e->L, idx), max = is_wide ? EXACT_MAX : is_signed ? INT32_MAX : UINT32_MAX;
    double min = !is_signed ? 0 : is_wide ? -EXACT_MAX : INT32_MIN;
    if (isnan(n) || isinf(n)) return refuse(e, at, "expected %s, got a number that is not finite", type);
    if (n != floor(n)) return refuse(e, at, "expected %s, got the fractional number %.14g", type, n);
    if (is_wide && (n > EXACT_MAX || n < -EXACT_MAX)) return refuse(e, at, "%.17g is not exact as a number; write its digits as text", n);
    if (n < min || n > max) return refuse(e, at, "%.17g does not fit into %s", n, type);
    if (is_signed)
        out->i64 = (int64_t)n;
    else
        out->u64 = (uint64_t)n;
    return SH_OK;
}

static int read_float(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int idx, sh_protobuf_value_t *out) {
    sh_decimal_t d;
    if (lua_type(e->L, idx) == LUA_TNUMBER) {
        out->number = lua_tonumber(e->L, idx);
    } else if (sh_lua_decimal_test(e->L, idx, &d)) {
        char text[SH_DECIMAL_TEXT_MAX + 1];
        text[sh_decimal_format(d, text)] = 0;
        out->number = strtod(text, NULL);
    } else {
        return refuse_type(e, at, field, idx);
    }
    return SH_OK;
}

/* `buffer` holds a decimal's digits until the caller has copied them. */
static int read_text(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int idx, char buffer[SH_DECIMAL_TEXT_MAX],
                     sh_protobuf_value_t *out) {
    sh_decimal_t d;
    if (lua_type(e->L, idx) == LUA_TSTRING) {
        out->text.ptr = lua_tolstring(e->L, idx, &out->text.len);
    } else if (field->kind == SH_PROTOBUF_STRING && sh_lua_decimal_test(e->L, idx, &d)) {
        out->text = sh_str(buffer, sh_decimal_format(d, buffer));
    } else {
        return refuse_type(e, at, field, idx);
    }
    return SH_OK;
}

static int read_enum(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int idx, sh_protobuf_value_t *out) {
    const sh_protobuf_enum_t *of = field->enumeration;
    const char *names[64], *text;
    size_t len, n = of->count < SH_ARRAY_LEN(names) ? of->count : SH_ARRAY_LEN(names);
    if (lua_type(e->L, idx) != LUA_TSTRING) return refuse_type(e, at, field, idx);
    text = lua_tolstring(e->L, idx, &len);
    for (uint32_t i = 0; i < of->count; i++) {
        if (!sh_str_eq(of->values[i].name, sh_str(text, len))) continue;
        out->i64 = of->values[i].number;
        return SH_OK;
    }
    for (size_t i = 0; i < n; i++) names[i] = of->values[i].name.ptr;
    const char *near = sh_str_nearest(text, names, n);
    return near ? refuse(e, at, "%s has no value \"%.40s\" (did you mean \"%s\"?)", of->name.ptr, text, near)
                : refuse(e, at, "%s has no value \"%.40s\"", of->name.ptr, text);
}

/* ---- messages */

static int encode_message(encoder_t *e, const place_t *at, const sh_protobuf_message_t *message, int depth, void **out);

/* Turns the value on top of the stack into one of the field's; leaves the stack as it is. */
static int encode_value(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int depth, char buffer[SH_DECIMAL_TEXT_MAX],
                        sh_protobuf_value_t *out) {
    if (++e->values > SH_PROTOBUF_VALUES_MAX) {
        refuse(e, at, "the message has more than %d values", SH_PROTOBUF_VALUES_MAX);
        return SH_ELIMIT;
    }
    switch (field->kind) {
    case SH_PROTOBUF_BOOL:
        if (!lua_isboolean(e->L, -1)) return refuse_type(e, at, field, -1);
        out->boolean = lua_toboolean(e->L, -1);
        return SH_OK;
    case SH_PROTOBUF_FLOAT:
    case SH_PROTOBUF_DOUBLE: return read_float(e, at, field, -1, out);
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: return read_text(e, at, field, -1, buffer, out);
    case SH_PROTOBUF_ENUM: return read_enum(e, at, field, -1, out);
    case SH_PROTOBUF_MESSAGE: return encode_message(e, at, field->message, depth + 1, &out->message);
    default: return read_whole(e, at, field, -1, out);
    }
}

/* The setters refuse text only: ranges were checked with better words. */
static int refuse_text(encoder_t *e, const place_t *at) { return refuse(e, at, "the text is not valid UTF-8, or has a NUL byte in it"); }

/* The list on top of the stack. */
static int encode_list(encoder_t *e, const place_t *above, const sh_protobuf_field_t *field, int depth, void *instance) {
    lua_State *L = e->L;
    place_t at = {above, field->name.ptr, 0};
    char buffer[SH_DECIMAL_TEXT_MAX];
    int top = lua_gettop(L);
    sh_vm_melt(L, -1);
    if (!lua_istable(L, -1)) return refuse(e, &at, "expected a list of %s, got %s", sh_protobuf_type_text(field), kind_text(L, -1));
    int list = lua_gettop(L);
    size_t n = lua_objlen(L, list), keys = 0;
    for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1)) {
        if (++keys <= n && lua_type(L, -2) == LUA_TNUMBER) continue;
        lua_pop(L, 1); /* what stays is taken off by the outermost call */
        return lua_type(L, -1) == LUA_TSTRING ? refuse(e, &at, "expected a list, got a table with the key \"%.40s\"", lua_tostring(L, -1))
                                              : refuse(e, &at, "expected a list, got a table whose keys are not 1 to %zu", n);
    }
    int rc = keys == n ? sh_protobuf_resize(instance, field, n, e->arena) : SH_EINVAL;
    if (rc == SH_EINVAL) refuse(e, &at, "expected a list, got a table whose keys are not 1 to %zu", n);
    if (rc == SH_ELIMIT) refuse(e, &at, "a list has at most %d values", SH_PROTOBUF_VALUES_MAX);
    for (at.index = 1; rc == SH_OK && at.index <= n; at.index++) {
        sh_protobuf_value_t value;
        lua_rawgeti(L, list, (int)at.index);
        rc = lua_isnil(L, -1) ? refuse(e, &at, "expected %s, got nil", sh_protobuf_type_text(field))
                              : encode_value(e, &at, field, depth, buffer, &value);
        if (rc == SH_OK && sh_protobuf_set_at(instance, field, at.index - 1, value, e->arena)) rc = refuse_text(e, &at);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    return rc;
}

/* The value on top of the stack, under the key below it. */
static int encode_field(encoder_t *e, const place_t *above, const sh_protobuf_message_t *message, int depth, void *instance) {
    lua_State *L = e->L;
    place_t at = {above, NULL, 0};
    char buffer[SH_DECIMAL_TEXT_MAX];
    sh_protobuf_value_t value;
    size_t len;
    if (lua_type(L, -2) != LUA_TSTRING)
        return refuse(e, above, "expected %s, got a table with a %s as key", sh_protobuf_short_name(message).ptr, luaL_typename(L, -2));
    const char *key = lua_tolstring(L, -2, &len);
    const sh_protobuf_field_t *field = sh_protobuf_field(message, sh_str(key, len));
    if (!field) {
        const char *near = sh_protobuf_nearest_field(message, key);
        return near ? refuse(e, above, "unknown field \"%.40s\" (did you mean \"%s\"?)", key, near)
                    : refuse(e, above, "unknown field \"%.40s\"", key);
    }
    if (sh_lua_json_is_null(L, -1)) return SH_OK;
    if (field->is_repeated) return encode_list(e, above, field, depth, instance);
    at.name = field->name.ptr;
    int rc = encode_value(e, &at, field, depth, buffer, &value);
    if (rc == SH_OK && sh_protobuf_set(instance, field, value, e->arena)) rc = refuse_text(e, &at);
    return rc;
}

/* The table on top of the stack. */
static int encode_message(encoder_t *e, const place_t *at, const sh_protobuf_message_t *message, int depth, void **out) {
    lua_State *L = e->L;
    int rc = SH_OK, top = lua_gettop(L);
    if (depth > SH_PROTOBUF_DEPTH_MAX) {
        refuse(e, at, "messages lie more than %d deep in each other", SH_PROTOBUF_DEPTH_MAX);
        return SH_ELIMIT;
    }
    sh_vm_melt(L, -1);
    if (!lua_istable(L, -1)) return refuse(e, at, "expected %s, got %s", sh_protobuf_short_name(message).ptr, kind_text(L, -1));
    int table = lua_gettop(L);
    void *instance = sh_protobuf_new(message, e->arena);
    lua_pushnil(L);
    while (rc == SH_OK && lua_next(L, table)) {
        rc = encode_field(e, at, message, depth, instance);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    if (rc == SH_OK) *out = instance;
    return rc;
}

static const sh_protobuf_message_t *find(const sh_protobuf_t *pb, sh_str_t name, char *err, size_t err_size) {
    const sh_protobuf_message_t *message = sh_protobuf_find(pb, name);
    if (message) return message;
    char text[SH_PROTOBUF_NAME_MAX + 1];
    snprintf(text, sizeof text, "%.*s", (int)name.len, name.ptr);
    const char *near = sh_protobuf_nearest(pb, text);
    if (near)
        snprintf(err, err_size, "no .proto file declares the message %s (did you mean %s?)", text, near);
    else
        snprintf(err, err_size, "no .proto file declares the message %s", text);
    return NULL;
}

/* An arena that Lua's collector frees when an error, such as out of memory, passes by here; else it is disposed of at once. */
static int arena_gc(lua_State *L) {
    sh_arena_dispose(lua_touserdata(L, 1));
    return 0;
}

static sh_arena_t *push_arena(lua_State *L) {
    static const char place[] = "shama.protobuf.arena";
    sh_arena_t *arena = lua_newuserdata(L, sizeof *arena);
    sh_arena_init(arena);
    lua_getfield(L, LUA_REGISTRYINDEX, place);
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, arena_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, place);
    }
    lua_setmetatable(L, -2);
    return arena;
}

int sh_lua_protobuf_encode(lua_State *L, int idx, const sh_protobuf_t *pb, sh_str_t message, sh_buf_t *out, char *err, size_t err_size) {
    place_t top = {0};
    encoder_t e = {L, NULL, find(pb, message, err, err_size), 0, err, err_size};
    void *instance;
    if (!e.message) return SH_ENOTFOUND;
    int base = lua_gettop(L);
    luaL_checkstack(L, STACK_PER_LEVEL * (SH_PROTOBUF_DEPTH_MAX + 2), "a message");
    lua_pushvalue(L, idx);
    e.arena = push_arena(L);
    lua_insert(L, -2);
    int rc = encode_message(&e, &top, e.message, 1, &instance);
    if (rc == SH_OK && (rc = sh_protobuf_pack(instance, out))) refuse(&e, &top, "the message has more than %d bytes", SH_PROTOBUF_BYTES_MAX);
    sh_arena_dispose(e.arena);
    lua_settop(L, base);
    return rc;
}

/* ---- from the wire */

static void push_message(lua_State *L, const sh_protobuf_message_t *message, const void *instance);

static void push_wide(lua_State *L, const char *format, int64_t n, bool is_exact) {
    char text[INT64_TEXT_MAX];
    if (is_exact) {
        lua_pushnumber(L, (double)n);
        return;
    }
    snprintf(text, sizeof text, format, n);
    lua_pushstring(L, text);
}

static void push_enum(lua_State *L, const sh_protobuf_enum_t *of, int64_t number) {
    for (uint32_t i = 0; i < of->count; i++) {
        if (of->values[i].number != number) continue;
        lua_pushlstring(L, of->values[i].name.ptr, of->values[i].name.len);
        return;
    }
    lua_pushnumber(L, (double)number);
}

static void push_value(lua_State *L, const sh_protobuf_field_t *field, sh_protobuf_value_t value) {
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: lua_pushboolean(L, value.boolean); break;
    case SH_PROTOBUF_INT32: lua_pushnumber(L, (double)value.i64); break;
    case SH_PROTOBUF_UINT32: lua_pushnumber(L, (double)value.u64); break;
    case SH_PROTOBUF_INT64: push_wide(L, "%ld", value.i64, value.i64 <= (int64_t)EXACT_MAX && value.i64 >= -(int64_t)EXACT_MAX); break;
    case SH_PROTOBUF_UINT64: push_wide(L, "%lu", (int64_t)value.u64, value.u64 <= (uint64_t)EXACT_MAX); break;
    case SH_PROTOBUF_FLOAT:
    case SH_PROTOBUF_DOUBLE: lua_pushnumber(L, value.number); break;
    case SH_PROTOBUF_ENUM: push_enum(L, field->enumeration, value.i64); break;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: lua_pushlstring(L, value.text.ptr, value.text.len); break;
    case SH_PROTOBUF_MESSAGE: push_message(L, field->message, value.message); break;
    }
}

static void push_list(lua_State *L, const sh_protobuf_field_t *field, const void *instance) {
    size_t n = sh_protobuf_count(instance, field);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_value(L, field, sh_protobuf_get_at(instance, field, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_message(lua_State *L, const sh_protobuf_message_t *message, const void *instance) {
    uint32_t n = sh_protobuf_field_count(message);
    luaL_checkstack(L, STACK_PER_LEVEL, "a message");
    lua_createtable(L, 0, (int)n);
    for (uint32_t i = 0; i < n; i++) {
        const sh_protobuf_field_t *field = sh_protobuf_field_at(message, i);
        if (field->has_presence && !sh_protobuf_has(instance, field)) continue;
        lua_pushlstring(L, field->name.ptr, field->name.len);
        if (field->is_repeated)
            push_list(L, field, instance);
        else
            push_value(L, field, sh_protobuf_get(instance, field));
        lua_rawset(L, -3);
    }
}

int sh_lua_protobuf_push(lua_State *L, const sh_protobuf_t *pb, sh_str_t message, sh_str_t bytes) {
    const sh_protobuf_message_t *m = sh_protobuf_find(pb, message);
    void *instance;
    if (!m) return SH_ENOTFOUND;
    luaL_checkstack(L, STACK_PER_LEVEL, "a message");
    sh_arena_t *arena = push_arena(L);
    int rc = sh_protobuf_unpack(m, bytes, arena, &instance);
    if (rc == SH_OK) push_message(L, m, instance);
    sh_arena_dispose(arena);
    lua_remove(L, rc == SH_OK ? -2 : -1);
    return rc;
}
