/* Proves that Lua tables become the bytes that protoc would write and come back as they were, that every misuse is refused with the place where
 * it stands, and that a Lua state out of memory loses nothing. How: the events of config/proto and a .proto file written here, snippets of
 * Lua, protoc --encode and --decode as the other side, and an allocator that refuses at every possible moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "bind/lua_protobuf.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char types_proto[] =
    "syntax = \"proto3\"; package shama.events;\n"
    "enum Mood { CALM = 0; CROSS = 2; }\n"
    "message Types { int64 wide = 1; uint64 uwide = 2; uint32 small = 3; Mood mood = 4; bool flag = 5; bytes blob = 6;\n"
    "  optional int32 maybe = 7; Types inner = 8; repeated string texts = 9; repeated Mood moods = 10; float single = 11;\n"
    "  repeated Types list = 12; int32 narrow = 13; double number = 14; string text = 15; }\n";

static char folder[] = "/tmp/shama-lua-protobuf-XXXXXX";
static sh_protobuf_t *pb;
static lua_State *L;
static char err[512];

static void write_file(const char *name, sh_str_t text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text.ptr, 1, text.len, f), text.len);
    assert_int_equal(fclose(f), 0);
}

static int open_globals(lua_State *l) {
    luaL_openlibs(l);
    sh_lua_decimal_open(l, NULL);
    lua_setglobal(l, "decimal");
    sh_lua_json_push_null(l);
    lua_setglobal(l, "null");
    return 0;
}

static int set_up(void **state) {
    (void)state;
    char command[512];
    sh_buf_t set = {0}, error = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "cp %s/config/proto/*.proto %s", SHAMA_SOURCE_DIR, folder);
    assert_int_equal(system(command), 0);
    write_file("types.proto", sh_str_of(types_proto));
    if (sh_proto_compile(folder, &set, &error)) fail_msg("%s", sh_buf_c(&error));
    if (sh_protobuf_create(sh_buf_str(&set), &pb, err, sizeof err)) fail_msg("%s", err);
    sh_buf_dispose(&set);
    L = luaL_newstate();
    assert_non_null(L);
    open_globals(L);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -r %s", folder);
    lua_close(L);
    sh_protobuf_destroy(pb);
    return system(command);
}

/* Runs a chunk and leaves its one result on the stack. */
static void eval(const char *chunk) {
    if (luaL_loadstring(L, chunk) || lua_pcall(L, 0, 1, 0)) fail_msg("%s", lua_tostring(L, -1));
}

static const sh_protobuf_message_t *message_of(const char *short_name) {
    char name[256];
    snprintf(name, sizeof name, "shama.events.%s", short_name);
    const sh_protobuf_message_t *message = sh_protobuf_find(pb, sh_str_of(name));
    assert_non_null(message);
    return message;
}

/* Encodes what the chunk returns; `out` may be NULL. The stack must stay as it was. */
static int encode(const char *message, const char *chunk, sh_buf_t *out) {
    sh_str_t bytes = SH_STR_NULL;
    err[0] = 0;
    eval(chunk);
    int top = lua_gettop(L), rc = sh_lua_protobuf_encode(L, -1, message_of(message), &bytes, err, sizeof err);
    assert_int_equal(lua_gettop(L), top);
    assert_int_equal(rc == SH_OK, err[0] == 0);
    lua_pop(L, 1);
    if (out) {
        sh_buf_init(out);
        sh_buf_put_str(out, bytes);
    }
    return rc;
}

/* Decodes `bytes` to the global `got` and checks that the Lua expression about it holds. */
static void decodes_to(const char *message, sh_str_t bytes, const char *expression) {
    char chunk[1024];
    int top = lua_gettop(L);
    assert_int_equal(sh_lua_protobuf_push(L, message_of(message), NULL, bytes), SH_OK);
    assert_int_equal(lua_gettop(L), top + 1);
    lua_setglobal(L, "got");
    snprintf(chunk, sizeof chunk, "return %s", expression);
    eval(chunk);
    if (!lua_toboolean(L, -1)) fail_msg("does not hold: %s", expression);
    lua_pop(L, 1);
}

static void round_trip(const char *message, const char *chunk, const char *expression) {
    sh_buf_t bytes;
    if (encode(message, chunk, &bytes)) fail_msg("%s", err);
    decodes_to(message, sh_buf_str(&bytes), expression);
    sh_buf_dispose(&bytes);
}

/* protoc --encode or --decode, from the file `in` to a static buffer. */
static sh_str_t protoc(const char *direction, const char *message, sh_str_t input) {
    static char output[65536];
    char command[1024], path[256];
    write_file("in", input);
    snprintf(command, sizeof command, "cd %s && protoc --%s=shama.events.%s -I. *.proto < in > out", folder, direction, message);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/out", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(output, 1, sizeof output - 1, f);
    fclose(f);
    output[n] = 0;
    return sh_str(output, n);
}

static const char approved[] =
    "return { quotation_id = 'q-1', total_amount = decimal('1234.50'), total_amount_exact = decimal('1234.50'), timestamp = 1790000000123,\n"
    "  customer_id = 'c-1', number = 'COT-2026-000123', version = 3, currency = 'USD', approved_by = 'u-1', line_items = {\n"
    "    { product_id = 'p-1', quantity = 2, unit_price = 617.25, item_id = 'i-1', unit_price_exact = decimal('617.25') },\n"
    "    { product_id = 'p-ñ', quantity = 100000, unit_price = decimal('0.10'), unit_price_exact = '0.10' } } }";
static const char approved_text[] =
    "quotation_id: \"q-1\"\ntotal_amount: 1234.5\ntimestamp: 1790000000123\n"
    "line_items {\n  product_id: \"p-1\"\n  quantity: 2\n  unit_price: 617.25\n  item_id: \"i-1\"\n  unit_price_exact: \"617.25\"\n}\n"
    "line_items {\n  product_id: \"p-\\303\\261\"\n  quantity: 100000\n  unit_price: 0.1\n  unit_price_exact: \"0.10\"\n}\n"
    "total_amount_exact: \"1234.50\"\ncustomer_id: \"c-1\"\nnumber: \"COT-2026-000123\"\nversion: 3\ncurrency: \"USD\"\napproved_by: \"u-1\"\n";

static void an_event_is_what_protoc_says(void **state) {
    (void)state;
    sh_buf_t bytes;
    if (encode("QuotationApprovedEvent", approved, &bytes)) fail_msg("%s", err);
    assert_string_equal(protoc("decode", "QuotationApprovedEvent", sh_buf_str(&bytes)).ptr, approved_text);
    sh_str_t theirs = protoc("encode", "QuotationApprovedEvent", SH_STR(approved_text));
    assert_true(sh_str_eq(theirs, sh_buf_str(&bytes)));
    sh_buf_dispose(&bytes);
    decodes_to("QuotationApprovedEvent", theirs,
               "got.total_amount == 1234.5 and got.total_amount_exact == '1234.50' and got.timestamp == 1790000000123 and #got.line_items == 2 and "
               "got.line_items[1].unit_price == 617.25 and got.line_items[2].product_id == 'p-ñ' and got.line_items[2].item_id == '' and "
               "got.version == 3 and decimal(got.line_items[2].unit_price_exact) == decimal('0.1')");
}

static void what_is_missing_is_the_default(void **state) {
    (void)state;
    sh_buf_t bytes;
    assert_int_equal(encode("Types", "return { texts = {}, text = null, flag = false, wide = 0, moods = null }", &bytes), SH_OK);
    assert_int_equal(bytes.len, 0);
    sh_buf_dispose(&bytes);
    decodes_to(
        "Types", SH_STR(""),
        "got.wide == 0 and got.uwide == 0 and got.small == 0 and got.mood == 'CALM' and got.flag == false and got.blob == '' and "
        "got.maybe == nil and got.inner == nil and #got.texts == 0 and #got.list == 0 and got.single == 0 and got.number == 0 and got.text == ''");
    round_trip("Types", "return { maybe = 0, inner = {} }", "got.maybe == 0 and got.inner.wide == 0 and got.inner.inner == nil");
}

/* Another writer may put fields in any order, say one twice, and scatter a list. */
static void any_order_is_read(void **state) {
    (void)state;
    decodes_to(
        "Types", SH_STR("\x7a\x01z\x08\x01\x4a\x01\x61\x08\x02\x4a\x01\x62\x50\x02\x4a\x01\x63"),
        "got.text == 'z' and got.wide == 2 and #got.texts == 3 and got.texts[1] == 'a' and got.texts[3] == 'c' and got.moods[1] == 'CROSS' and "
        "got.narrow == 0 and got.maybe == nil");
    decodes_to("Types", SH_STR("\x42\x02\x08\x05\x52\x02\x00\x02"), "got.inner.wide == 5 and got.inner.text == '' and #got.moods == 2");
}

static void wide_integers_stay_exact(void **state) {
    (void)state;
    round_trip("Types", "return { wide = 9007199254740991, uwide = 9007199254740991 }",
               "got.wide == 9007199254740991 and got.uwide == 9007199254740991");
    round_trip("Types", "return { wide = -9007199254740991 }", "got.wide == -9007199254740991");
    round_trip("Types", "return { wide = '9007199254740993', uwide = '18446744073709551615' }",
               "got.wide == '9007199254740993' and got.uwide == '18446744073709551615'");
    round_trip("Types", "return { wide = '-9223372036854775808' }", "got.wide == '-9223372036854775808'");
    round_trip("Types", "return { wide = '12', uwide = '0' }", "got.wide == 12 and got.uwide == 0");
    round_trip("Types", "return { narrow = -2147483648, small = 4294967295 }", "got.narrow == -2147483648 and got.small == 4294967295");
}

static void other_kinds_go_both_ways(void **state) {
    (void)state;
    round_trip("Types",
               "return { mood = 'CROSS', moods = { 'CROSS', 'CALM' }, flag = true, blob = '\\0\\255', single = 0.5, texts = { 'a', '', 'ü' } }",
               "got.mood == 'CROSS' and got.moods[1] == 'CROSS' and got.moods[2] == 'CALM' and got.flag == true and got.blob == '\\0\\255' and "
               "got.single == 0.5 and #got.texts == 3 and got.texts[2] == '' and got.texts[3] == 'ü'");
    round_trip("Types", "return { number = -1/0, text = decimal('-0.50'), single = decimal('2.5') }",
               "got.number == -1/0 and got.text == '-0.50' and got.single == 2.5");
    decodes_to("Types", SH_STR("\x20\x09"), "got.mood == 9"); /* a value that a newer sender knows */
    round_trip("Types", "return { list = { { text = 'a' }, {}, { list = { { narrow = -1 } } } } }",
               "#got.list == 3 and got.list[3].list[1].narrow == -1 and got.list[2].text == ''");
}

/* Rules see the tables of their modules through userdata with __frozen. */
static void frozen_tables_are_tables(void **state) {
    (void)state;
    static const char frozen[] = "local function freeze(t) local p = newproxy(true); getmetatable(p).__frozen = t; return p end\n"
                                 "return freeze { texts = freeze { 'a', 'b' }, inner = freeze { wide = 5 }, list = { freeze { wide = 6 } } }";
    round_trip("Types", frozen, "got.texts[2] == 'b' and got.inner.wide == 5 and got.list[1].wide == 6");
}

static void refuses(const char *message, const char *chunk, const char *sentence) {
    if (encode(message, chunk, NULL) != SH_EINVAL) fail_msg("was taken: %s", chunk);
    assert_string_equal(err, sentence);
}

static void misuse_names_its_place(void **state) {
    (void)state;
    refuses("QuotationApprovedEvent", "return { line_items = { { quantity = 1 }, { quantity = 'two' } } }",
            "line_items[2].quantity: expected int32, got string");
    refuses("QuotationApprovedEvent", "return { total_ammount = 1 }",
            "QuotationApprovedEvent: unknown field \"total_ammount\" (did you mean \"total_amount\"?)");
    refuses("QuotationApprovedEvent", "return { line_items = { { qty = 1 } } }", "line_items[1]: unknown field \"qty\"");
    refuses("QuotationApprovedEvent", "return { line_items = { product_id = 'x' } }",
            "line_items: expected a list, got a table with the key \"product_id\"");
    refuses("QuotationApprovedEvent", "return { line_items = { [2] = {} } }", "line_items: expected a list, got a table whose keys are not 1 to 0");
    refuses("QuotationApprovedEvent", "return { line_items = { {}, n = 1 } }", "line_items: expected a list, got a table with the key \"n\"");
    refuses("QuotationApprovedEvent", "return { line_items = 'x' }", "line_items: expected a list of LineItem, got string");
    refuses("QuotationApprovedEvent", "return { line_items = { 5 } }", "line_items[1]: expected LineItem, got number");
    refuses("QuotationApprovedEvent", "return { line_items = { null } }", "line_items[1]: expected LineItem, got null");
    refuses("QuotationApprovedEvent", "return { version = 1.5 }", "version: expected int32, got the fractional number 1.5");
    refuses("QuotationApprovedEvent", "return { version = 2147483648 }", "version: 2147483648 does not fit into int32");
    refuses("QuotationApprovedEvent", "return { version = decimal('1') }", "version: expected int32, got decimal");
    refuses("QuotationApprovedEvent", "return { version = true }", "version: expected int32, got boolean");
    refuses("QuotationApprovedEvent", "return { total_amount = '12.50' }", "total_amount: expected double, got string");
    refuses("QuotationApprovedEvent", "return { total_amount_exact = 12.5 }", "total_amount_exact: expected string, got number");
    refuses("QuotationApprovedEvent", "return { quotation_id = {} }", "quotation_id: expected string, got table");
    refuses("QuotationApprovedEvent", "return { number = 'a\\0b' }", "number: the text is not valid UTF-8, or has a NUL byte in it");
    refuses("QuotationApprovedEvent", "return { number = '\\255' }", "number: the text is not valid UTF-8, or has a NUL byte in it");
    refuses("QuotationApprovedEvent", "return { [1] = 'x' }",
            "QuotationApprovedEvent: expected QuotationApprovedEvent, got a table with a number as key");
    refuses("QuotationApprovedEvent", "return 'x'", "QuotationApprovedEvent: expected QuotationApprovedEvent, got string");
    refuses("QuotationApprovedEvent", "return { timestamp = 9007199254740992 }",
            "timestamp: 9007199254740992 is not exact as a number; write its digits as text");
    refuses("QuotationApprovedEvent", "return { timestamp = 0/0 }", "timestamp: expected int64, got a number that is not finite");
    refuses("QuotationApprovedEvent", "return { timestamp = '12x' }", "timestamp: \"12x\" is no int64");
    refuses("QuotationApprovedEvent", "return { timestamp = '9223372036854775808' }", "timestamp: \"9223372036854775808\" is no int64");
    refuses("Types", "return { uwide = '18446744073709551616' }", "uwide: \"18446744073709551616\" is no uint64");
    refuses("Types", "return { uwide = '-1' }", "uwide: \"-1\" is no uint64");
    refuses("Types", "return { uwide = -1 }", "uwide: -1 does not fit into uint64");
    refuses("Types", "return { small = -1 }", "small: -1 does not fit into uint32");
    refuses("Types", "return { mood = 'CALMER' }", "mood: Mood has no value \"CALMER\" (did you mean \"CALM\"?)");
    refuses("Types", "return { mood = 2 }", "mood: expected Mood, got number");
    refuses("Types", "return { flag = 1 }", "flag: expected bool, got number");
    refuses("Types", "return { blob = decimal('1') }", "blob: expected bytes, got decimal");
    refuses("Types", "return { inner = { inner = { list = { {}, { text = 7 } } } } }", "inner.inner.list[2].text: expected string, got number");
    refuses("Types", "return { text = function() end }", "text: expected string, got function");
    refuses("Types", "return { texts = { 'a', 5 } }", "texts[2]: expected string, got number");
    refuses("Types", "return setmetatable({}, { __index = { text = 'x' } }).text and { flag = newproxy() }", "flag: expected bool, got userdata");
}

static void limits_are_told(void **state) {
    (void)state;
    assert_int_equal(encode("Types", "local t = {} for _ = 1, 15 do t = { inner = t } end return t", NULL), SH_OK);
    assert_int_equal(encode("Types", "local t = {} for _ = 1, 16 do t = { inner = t } end return t", NULL), SH_ELIMIT);
    assert_non_null(strstr(err, ".inner: messages lie more than 16 deep in each other"));
    assert_int_equal(encode("Types", "local t = {} t.inner = t return t", NULL), SH_ELIMIT);
    assert_int_equal(encode("Types", "local t = {} t.list = { t, t } return t", NULL), SH_ELIMIT);
    assert_int_equal(encode("Types", "return { text = ('x'):rep(1048576) }", NULL), SH_ELIMIT);
    assert_string_equal(err, "Types: the message has more than 1048576 bytes");
    assert_int_equal(encode("Types", "local t = {} for i = 1, 100001 do t[i] = '' end return { texts = t }", NULL), SH_ELIMIT);
    assert_string_equal(err, "texts: a list has at most 100000 values");
    assert_int_equal(
        encode("Types", "local t, l = {}, {} for i = 1, 50000 do t[i] = '' end for i = 1, 3 do l[i] = { texts = t } end return { list = l }", NULL),
        SH_ELIMIT);
    assert_int_equal(encode("Types", "local t, l = ('x'):rep(1000), {} for i = 1, 2000 do l[i] = t end return { texts = l }", NULL), SH_ELIMIT);
}

/* What is not wanted is not there, and is checked all the same. */
static void only_wanted_fields_are_decoded(void **state) {
    (void)state;
    sh_lua_protobuf_fields_t only = {0};
    sh_buf_t bytes;
    if (encode("Types", "return { wide = 5, text = 'a', texts = { 'b', 'c' }, list = { { text = 'd' } }, inner = { wide = 6, text = 'e' } }", &bytes))
        fail_msg("%s", err);
    static const char *const names[] = {"texts", "inner", "maybe", "number", "texts", "nothing"};
    for (size_t i = 0; i < SH_ARRAY_LEN(names); i++) sh_lua_protobuf_fields_add(&only, message_of("Types"), sh_str_of(names[i]));
    assert_int_equal(only.count, 4);
    assert_int_equal(sh_lua_protobuf_push(L, message_of("Types"), &only, sh_buf_str(&bytes)), SH_OK);
    lua_setglobal(L, "got");
    eval("local n = 0 for _ in pairs(got) do n = n + 1 end\n"
         "return n == 3 and got.texts[2] == 'c' and got.inner.text == 'e' and got.number == 0 and got.wide == nil and got.list == nil");
    assert_true(lua_toboolean(L, -1));
    lua_pop(L, 1);
    sh_buf_dispose(&bytes);
    /* list[1].text is cut, text is no UTF-8 */
    assert_int_equal(sh_lua_protobuf_push(L, message_of("Types"), &only, SH_STR("\x62\x02\x7a\x05")), SH_EINVAL);
    assert_int_equal(sh_lua_protobuf_push(L, message_of("Types"), &only, SH_STR("\x7a\x01\xff")), SH_EINVAL);
}

static void malformed_bytes_push_nothing(void **state) {
    (void)state;
    int top = lua_gettop(L);
    assert_int_equal(sh_lua_protobuf_push(L, message_of("Types"), NULL,
                                          SH_STR("\x7a\x05"
                                                 "ab")),
                     SH_EINVAL);
    /* in a message of a list, after values that were fine */
    assert_int_equal(sh_lua_protobuf_push(L, message_of("Types"), NULL, SH_STR("\x08\x01\x62\x05\x7a\x01\x61\x7a\x7f")), SH_EINVAL);
    assert_int_equal(lua_gettop(L), top);
}

/* ---- out of memory */

typedef struct budget {
    size_t used, max;
} budget_t;

static void *bounded_alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
    budget_t *b = data;
    if (new_size == 0) {
        b->used -= old_size;
        free(ptr);
        return NULL;
    }
    if (new_size > old_size && b->used + new_size - old_size > b->max) return NULL;
    void *p = realloc(ptr, new_size);
    if (p) b->used += new_size - old_size;
    return p;
}

/* Encodes the value at 1 and decodes it again. */
static int there_and_back(lua_State *l) {
    sh_str_t bytes;
    char text[256];
    lua_settop(l, 1);
    if (sh_lua_protobuf_encode(l, 1, message_of("QuotationApprovedEvent"), &bytes, text, sizeof text)) return luaL_error(l, "%s", text);
    if (sh_lua_protobuf_push(l, message_of("QuotationApprovedEvent"), NULL, bytes)) return luaL_error(l, "did not decode");
    return 0;
}

/* The sanitizer would tell of a buffer that was lost. */
static void out_of_memory_loses_nothing(void **state) {
    (void)state;
    budget_t b = {0, SIZE_MAX};
    int refused = 0, taken = 0;
    lua_State *l = lua_newstate(bounded_alloc, &b);
    assert_non_null(l);
    open_globals(l);
    lua_gc(l, LUA_GCSTOP, 0);
    for (size_t room = 0; room < 8192 && taken < 3; room += 16) {
        b.max = SIZE_MAX;
        lua_settop(l, 0);
        lua_gc(l, LUA_GCCOLLECT, 0);
        lua_gc(l, LUA_GCSTOP, 0);
        lua_pushcfunction(l, there_and_back);
        if (luaL_loadstring(l, approved) || lua_pcall(l, 0, 1, 0)) fail_msg("%s", lua_tostring(l, -1));
        b.max = b.used + room;
        int rc = lua_pcall(l, 1, 0, 0);
        b.max = SIZE_MAX;
        if (rc == LUA_ERRMEM)
            refused++;
        else if (rc == 0)
            taken++;
        else
            fail_msg("%s", lua_tostring(l, -1));
    }
    assert_true(refused > 3 && taken == 3);
    lua_close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_what_protoc_says),
        cmocka_unit_test(what_is_missing_is_the_default),
        cmocka_unit_test(any_order_is_read),
        cmocka_unit_test(wide_integers_stay_exact),
        cmocka_unit_test(other_kinds_go_both_ways),
        cmocka_unit_test(frozen_tables_are_tables),
        cmocka_unit_test(misuse_names_its_place),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(only_wanted_fields_are_decoded),
        cmocka_unit_test(malformed_bytes_push_nothing),
        cmocka_unit_test(out_of_memory_loses_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
