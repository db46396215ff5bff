/* Walks a Lua table along a message's fields onto the wire, and the wire into a Lua table: one pass each way, nothing in between. */
#include "bind/lua_protobuf.h"

#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "codec/protobuf_wire.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers up to here are told from their neighbours in a double. */
#define EXACT_MAX 9007199254740991.0

enum { STACK_PER_LEVEL = 8, INT64_TEXT_MAX = 24, SCRATCH_KEPT_MAX = 65536, LIST_ROOM = 4 };

/* Pushes the list of the names of the message's fields, by place from 1: strings that Lua need not hash again for every table. */
static void push_names(lua_State *L, const sh_protobuf_message_t *message) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)message);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_istable(L, -1)) return;
    lua_pop(L, 1);
    uint32_t n = sh_protobuf_field_count(message);
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        sh_str_t name = sh_protobuf_field_at(message, i)->name;
        lua_pushlstring(L, name.ptr, name.len);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_pushlightuserdata(L, (void *)(uintptr_t)message);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Where a value stands; frames of the walk point to the ones above them. */
typedef struct place {
    const struct place *above;
    const char *name; /* NULL: the message itself */
    size_t index;     /* from 1; 0: not in a list */
} place_t;

typedef struct encoder {
    lua_State *L;
    sh_buf_t *out;
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
        out->number = sh_decimal_to_double(d);
    } else {
        return refuse_type(e, at, field, idx);
    }
    return SH_OK;
}

/* `buffer` holds a decimal's digits until the caller has put them. */
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

static int encode_message(encoder_t *e, const place_t *at, const sh_protobuf_message_t *message, int depth);

static int refuse_size(encoder_t *e) {
    refuse(e, &(place_t){0}, "the message has more than %d bytes", SH_PROTOBUF_BYTES_MAX);
    return SH_ELIMIT;
}

/* Puts the value on top of the stack; leaves the stack as it is. */
static int encode_value(encoder_t *e, const place_t *at, const sh_protobuf_field_t *field, int depth) {
    char buffer[SH_DECIMAL_TEXT_MAX];
    sh_protobuf_value_t value;
    int rc = SH_OK;
    if (++e->values > SH_PROTOBUF_VALUES_MAX) {
        refuse(e, at, "the message has more than %d values", SH_PROTOBUF_VALUES_MAX);
        return SH_ELIMIT;
    }
    switch (field->kind) {
    case SH_PROTOBUF_MESSAGE: {
        size_t inside = sh_protobuf_open(e->out, field);
        rc = encode_message(e, at, field->message, depth + 1);
        sh_protobuf_close(e->out, inside);
        return rc;
    }
    case SH_PROTOBUF_BOOL:
        if (!lua_isboolean(e->L, -1)) return refuse_type(e, at, field, -1);
        value.boolean = lua_toboolean(e->L, -1);
        break;
    case SH_PROTOBUF_FLOAT:
    case SH_PROTOBUF_DOUBLE: rc = read_float(e, at, field, -1, &value); break;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: rc = read_text(e, at, field, -1, buffer, &value); break;
    case SH_PROTOBUF_ENUM: rc = read_enum(e, at, field, -1, &value); break;
    default: rc = read_whole(e, at, field, -1, &value); break;
    }
    if (rc) return rc;
    /* Of text only: ranges were checked with better words. */
    if (sh_protobuf_put(e->out, field, value)) return refuse(e, at, "the text is not valid UTF-8, or has a NUL byte in it");
    return e->out->len > SH_PROTOBUF_BYTES_MAX ? refuse_size(e) : SH_OK;
}

/* Is the table at `list` one of n values without holes? */
static int check_list(encoder_t *e, const place_t *at, int list, size_t n) {
    lua_State *L = e->L;
    size_t keys = 0;
    for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1)) {
        if (++keys <= n && lua_type(L, -2) == LUA_TNUMBER) continue;
        lua_pop(L, 1); /* what stays is taken off by the outermost call */
        return lua_type(L, -1) == LUA_TSTRING ? refuse(e, at, "expected a list, got a table with the key \"%.40s\"", lua_tostring(L, -1))
                                              : refuse(e, at, "expected a list, got a table whose keys are not 1 to %zu", n);
    }
    if (keys != n) return refuse(e, at, "expected a list, got a table whose keys are not 1 to %zu", n);
    if (n <= SH_PROTOBUF_VALUES_MAX) return SH_OK;
    refuse(e, at, "a list has at most %d values", SH_PROTOBUF_VALUES_MAX);
    return SH_ELIMIT;
}

/* The list on top of the stack. */
static int encode_list(encoder_t *e, const place_t *above, const sh_protobuf_field_t *field, int depth) {
    lua_State *L = e->L;
    place_t at = {above, field->name.ptr, 0};
    int top = lua_gettop(L);
    sh_vm_melt(L, -1);
    if (!lua_istable(L, -1)) return refuse(e, &at, "expected a list of %s, got %s", sh_protobuf_type_text(field), kind_text(L, -1));
    int list = lua_gettop(L);
    size_t n = lua_objlen(L, list), run = 0;
    int rc = check_list(e, &at, list, n);
    if (rc == SH_OK && n && field->is_packed) run = sh_protobuf_open(e->out, field);
    for (at.index = 1; rc == SH_OK && at.index <= n; at.index++) {
        lua_rawgeti(L, list, (int)at.index);
        rc = encode_value(e, &at, field, depth);
        lua_pop(L, 1);
    }
    if (run) sh_protobuf_close(e->out, run);
    lua_settop(L, top);
    return rc;
}

/* Names the key of the table that no field has. */
static int refuse_key(encoder_t *e, const place_t *at, const sh_protobuf_message_t *message, int table) {
    lua_State *L = e->L;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        size_t len;
        if (lua_type(L, -2) != LUA_TSTRING)
            return refuse(e, at, "expected %s, got a table with a %s as key", sh_protobuf_short_name(message).ptr, luaL_typename(L, -2));
        const char *key = lua_tolstring(L, -2, &len), *near;
        if (sh_protobuf_field(message, sh_str(key, len))) continue;
        near = sh_protobuf_nearest_field(message, key);
        return near ? refuse(e, at, "unknown field \"%.40s\" (did you mean \"%s\"?)", key, near) : refuse(e, at, "unknown field \"%.40s\"", key);
    }
    SH_ASSERT(false);
}

/* The table on top of the stack. */
static int encode_message(encoder_t *e, const place_t *above, const sh_protobuf_message_t *message, int depth) {
    lua_State *L = e->L;
    uint32_t n = sh_protobuf_field_count(message), found = 0, keys = 0;
    int rc = SH_OK, top = lua_gettop(L);
    if (depth > SH_PROTOBUF_DEPTH_MAX) {
        refuse(e, above, "messages lie more than %d deep in each other", SH_PROTOBUF_DEPTH_MAX);
        return SH_ELIMIT;
    }
    sh_vm_melt(L, -1);
    if (!lua_istable(L, -1)) return refuse(e, above, "expected %s, got %s", sh_protobuf_short_name(message).ptr, kind_text(L, -1));
    int table = lua_gettop(L), names = table + 1;
    push_names(L, message);
    for (uint32_t i = 0; rc == SH_OK && i < n; i++) {
        const sh_protobuf_field_t *field = sh_protobuf_field_at(message, i);
        place_t at = {above, field->name.ptr, 0};
        lua_rawgeti(L, names, (int)i + 1);
        lua_rawget(L, table);
        if (!lua_isnil(L, -1)) {
            found++;
            if (!sh_lua_json_is_null(L, -1)) rc = field->is_repeated ? encode_list(e, above, field, depth) : encode_value(e, &at, field, depth);
        }
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); rc == SH_OK && lua_next(L, table); lua_pop(L, 1)) keys++;
    if (rc == SH_OK && keys != found) rc = refuse_key(e, above, message, table);
    lua_settop(L, top);
    return rc;
}

static int scratch_gc(lua_State *L) {
    sh_buf_dispose(lua_touserdata(L, 1));
    return 0;
}

/* An empty buffer of the state's own: what passes by here as an error, such as out of memory, loses nothing. */
static sh_buf_t *scratch_of(lua_State *L) {
    static const char place;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&place);
    lua_rawget(L, LUA_REGISTRYINDEX);
    sh_buf_t *scratch = lua_touserdata(L, -1);
    if (!scratch) {
        scratch = lua_newuserdata(L, sizeof *scratch);
        sh_buf_init(scratch);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, scratch_gc);
        lua_setfield(L, -2, "__gc");
        lua_setmetatable(L, -2);
        lua_pushlightuserdata(L, (void *)(uintptr_t)&place);
        lua_pushvalue(L, -2);
        lua_rawset(L, LUA_REGISTRYINDEX);
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
    if (scratch->cap > SCRATCH_KEPT_MAX) sh_buf_dispose(scratch);
    sh_buf_clear(scratch);
    return scratch;
}

int sh_lua_protobuf_encode(lua_State *L, int idx, const sh_protobuf_message_t *message, sh_str_t *out, char *err, size_t err_size) {
    place_t top = {0};
    int base = lua_gettop(L);
    luaL_checkstack(L, STACK_PER_LEVEL * (SH_PROTOBUF_DEPTH_MAX + 2), "a message");
    lua_pushvalue(L, idx);
    encoder_t e = {L, scratch_of(L), message, 0, err, err_size};
    int rc = encode_message(&e, &top, message, 1);
    if (rc == SH_OK && e.out->len > SH_PROTOBUF_BYTES_MAX) rc = refuse_size(&e);
    if (rc == SH_OK) *out = sh_buf_str(e.out);
    lua_settop(L, base);
    return rc;
}

/* ---- from the wire */

static int push_message(lua_State *L, sh_protobuf_reader_t *reader, const sh_lua_protobuf_fields_t *only);

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

/* Pushes the value that `reader` has just read, or nothing and a status. */
static int push_value(lua_State *L, sh_protobuf_reader_t *reader, const sh_protobuf_field_t *field, sh_protobuf_value_t value) {
    sh_protobuf_reader_t inside;
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
    case SH_PROTOBUF_MESSAGE: {
        int rc = sh_protobuf_reader_enter(&inside, reader, value.text);
        return rc ? rc : push_message(L, &inside, NULL);
    }
    }
    return SH_OK;
}

/* What a field is when nothing is said of it; false where that is nil. */
static bool push_default(lua_State *L, const sh_protobuf_field_t *field) {
    if (field->has_presence) return false;
    if (field->is_repeated) {
        lua_createtable(L, 0, 0);
        return true;
    }
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: lua_pushboolean(L, 0); break;
    case SH_PROTOBUF_ENUM: push_enum(L, field->enumeration, 0); break;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: lua_pushliteral(L, ""); break;
    default: lua_pushnumber(L, 0); break;
    }
    return true;
}

/* A message while it is read. Fields come nearly always in the order of their numbers, so that the ones that are missing are known on the way;
 * what comes late takes the default's place. */
typedef struct decoder {
    lua_State *L;
    const sh_protobuf_message_t *message;
    const sh_lua_protobuf_fields_t *only; /* NULL: all */
    int names, table;
    uint32_t next;                   /* the fields below it have their value or their default */
    const sh_protobuf_field_t *list; /* whose list is on top of the stack, with so many values */
    int length;
} decoder_t;

static bool is_wanted(const decoder_t *d, uint32_t place) { return !d->only || (d->only->bits[place / 64] >> place % 64 & 1); }

static void push_name(const decoder_t *d, const sh_protobuf_field_t *field) { lua_rawgeti(d->L, d->names, (int)field->place + 1); }

static void fill_up_to(decoder_t *d, uint32_t place) {
    for (; d->next < place; d->next++) {
        const sh_protobuf_field_t *field = sh_protobuf_field_at(d->message, d->next);
        if (!is_wanted(d, d->next)) continue;
        push_name(d, field);
        if (push_default(d->L, field))
            lua_rawset(d->L, d->table);
        else
            lua_pop(d->L, 1);
    }
}

/* Leaves the field's list on top of the stack, until close_list(). */
static void open_list(decoder_t *d, const sh_protobuf_field_t *field) {
    lua_State *L = d->L;
    d->list = field;
    push_name(d, field);
    if (field->place < d->next) { /* the rest of a list whose values did not stand together */
        lua_rawget(L, d->table);
        d->length = (int)lua_objlen(L, -1);
        return;
    }
    lua_createtable(L, LIST_ROOM, 0);
    lua_insert(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, d->table);
    d->length = 0;
}

static void close_list(decoder_t *d) {
    if (d->list) lua_pop(d->L, 1);
    d->list = NULL;
}

/* Reads a message that nobody wants: it may still be none. */
static int skip_message(sh_protobuf_reader_t *above, sh_str_t bytes) {
    const sh_protobuf_field_t *field;
    sh_protobuf_reader_t inside;
    sh_protobuf_value_t value;
    int rc = sh_protobuf_reader_enter(&inside, above, bytes);
    while (rc == SH_OK && (rc = sh_protobuf_read(&inside, &field, &value)) > 0)
        rc = field->kind == SH_PROTOBUF_MESSAGE ? skip_message(&inside, value.text) : SH_OK;
    return rc;
}

static int push_field(decoder_t *d, sh_protobuf_reader_t *reader, const sh_protobuf_field_t *field, sh_protobuf_value_t value) {
    int rc;
    if (!is_wanted(d, field->place)) return field->kind == SH_PROTOBUF_MESSAGE ? skip_message(reader, value.text) : SH_OK;
    if (d->list != field) {
        close_list(d);
        fill_up_to(d, field->place);
        if (field->is_repeated) open_list(d, field);
        if (d->next == field->place) d->next++;
    }
    if (!field->is_repeated) push_name(d, field);
    if ((rc = push_value(d->L, reader, field, value))) return rc;
    if (field->is_repeated)
        lua_rawseti(d->L, -2, ++d->length);
    else
        lua_rawset(d->L, d->table);
    return SH_OK;
}

/* Pushes the message that `reader` stands before, or leaves anything and a status. */
static int push_message(lua_State *L, sh_protobuf_reader_t *reader, const sh_lua_protobuf_fields_t *only) {
    const sh_protobuf_field_t *field;
    sh_protobuf_value_t value;
    int rc, top = lua_gettop(L);
    luaL_checkstack(L, STACK_PER_LEVEL, "a message");
    uint32_t n = sh_protobuf_field_count(reader->message);
    decoder_t d = {.L = L, .message = reader->message, .only = only, .table = top + 1, .names = top + 2};
    lua_createtable(L, 0, (int)(only ? only->count : n));
    push_names(L, d.message);
    while ((rc = sh_protobuf_read(reader, &field, &value)) > 0)
        if ((rc = push_field(&d, reader, field, value))) return rc;
    close_list(&d);
    fill_up_to(&d, n);
    lua_settop(L, d.table);
    return rc;
}

void sh_lua_protobuf_fields_add(sh_lua_protobuf_fields_t *fields, const sh_protobuf_message_t *message, sh_str_t name) {
    const sh_protobuf_field_t *field = sh_protobuf_field(message, name);
    if (!field || (fields->bits[field->place / 64] >> field->place % 64 & 1)) return;
    fields->bits[field->place / 64] |= 1ull << field->place % 64;
    fields->count++;
}

int sh_lua_protobuf_push(lua_State *L, const sh_protobuf_message_t *message, const sh_lua_protobuf_fields_t *only, sh_str_t bytes) {
    sh_protobuf_reader_t reader;
    int top = lua_gettop(L), rc = sh_protobuf_reader_init(&reader, message, bytes);
    if (rc == SH_OK) rc = push_message(L, &reader, only);
    if (rc) lua_settop(L, top);
    return rc;
}
