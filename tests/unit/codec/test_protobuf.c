/* Proves that messages described only at load are read and written as protoc does it, that every event of config/proto has its message, and
 * that neither bytes nor descriptors from elsewhere can do harm. How: .proto files written here are compiled by protoc, what is written is compared
 * with protoc --decode and --encode in both directions; then truncated, mutated and oversized input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "base/arena.h"
#include "base/err.h"
#include "codec/protobuf_wire.h"
#include "support/protobuf.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/shama-protobuf-XXXXXX";

static const char all_proto[] =
    "syntax = \"proto3\";\npackage t;\nimport \"other.proto\";\n"
    "enum Colour { RED = 0; BLUE = 7; DARK = -1; }\n"
    "message Scalars {\n"
    "  double a = 1; float b = 2; int64 c = 3; uint64 d = 4; int32 e = 5; fixed64 f = 6; fixed32 g = 7; bool h = 8;\n"
    "  string i = 9; bytes j = 12; uint32 k = 13; Colour l = 14; sfixed32 m = 15; sfixed64 n = 16; sint32 o = 17; sint64 p = 536870911;\n"
    "}\n"
    "message Lists {\n"
    "  repeated int32 packed = 1; repeated int32 loose = 2 [packed = false]; repeated string texts = 3; repeated Scalars messages = 4;\n"
    "  repeated bool flags = 5; repeated double doubles = 6; repeated bytes blobs = 7; repeated Colour colours = 8; repeated fixed32 fixed = 9;\n"
    "}\n"
    "message Presence { optional int32 number = 1; optional string text = 2; optional bool flag = 3; optional bytes blob = 4; Scalars message = 5; "
    "}\n"
    "message Tree { string name = 1; Tree left = 2; repeated Tree children = 3; other.Thing thing = 4; Inner.Deep deep = 5;\n"
    "  message Inner { enum Mood { CALM = 0; } message Deep { Mood mood = 1; int32 n = 2; } } }\n"
    "message Nothing {}\n";
static const char other_proto[] = "syntax = \"proto3\";\npackage other;\nmessage Thing { string id = 1; }\n";

static sh_protobuf_t *pb;
static sh_arena_t arena;
static sh_buf_t set;

static void write_file(const char *name, const void *bytes, size_t len) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static sh_str_t read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = sh_arena_calloc(&arena, 1 << 20);
    size_t n = fread(bytes, 1, (1 << 20) - 1, f);
    fclose(f);
    return sh_str(bytes, n);
}

/* Runs protoc on `input` and returns what it wrote. */
static sh_str_t protoc(const char *direction, const char *message, sh_str_t input) {
    char command[1024], path[512];
    write_file("in", input.ptr, input.len);
    snprintf(command, sizeof command, "cd %s && protoc --%s=%s -I. all.proto < in > out", folder, direction, message);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/out", folder);
    return read_file(path);
}

static int set_up(void **state) {
    (void)state;
    sh_buf_t error = {0};
    char err[256];
    sh_arena_init(&arena);
    assert_non_null(mkdtemp(folder));
    write_file("all.proto", all_proto, sizeof all_proto - 1);
    write_file("other.proto", other_proto, sizeof other_proto - 1);
    if (sh_proto_compile(folder, &set, &error)) fail_msg("%s", sh_buf_c(&error));
    if (sh_protobuf_create(sh_buf_str(&set), &pb, err, sizeof err)) fail_msg("%s", err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -r %s", folder);
    sh_protobuf_destroy(pb);
    sh_buf_dispose(&set);
    sh_arena_dispose(&arena);
    return system(command);
}

static const sh_protobuf_message_t *find(const char *name) {
    const sh_protobuf_message_t *m = sh_protobuf_find(pb, sh_str_of(name));
    assert_non_null(m);
    return m;
}

static const sh_protobuf_field_t *field(const sh_protobuf_message_t *m, const char *name) {
    const sh_protobuf_field_t *f = sh_protobuf_field(m, sh_str_of(name));
    assert_non_null(f);
    return f;
}

static void set_value(sh_buf_t *out, const sh_protobuf_message_t *m, const char *name, sh_protobuf_value_t value) {
    assert_int_equal(sh_protobuf_put(out, field(m, name), value), SH_OK);
}

/* How many values the field has, and the one of this index. */
static size_t find_value(sh_str_t bytes, const sh_protobuf_field_t *wanted, const sh_protobuf_message_t *m, size_t index, sh_protobuf_value_t *out) {
    sh_protobuf_reader_t reader;
    const sh_protobuf_field_t *is;
    sh_protobuf_value_t value;
    size_t n = 0;
    int rc;
    assert_int_equal(sh_protobuf_reader_init(&reader, m, bytes), SH_OK);
    while ((rc = sh_protobuf_read(&reader, &is, &value)) > 0)
        if (is == wanted && n++ == index) *out = value;
    assert_int_equal(rc, 0);
    return n;
}

static size_t count(sh_str_t bytes, const sh_protobuf_message_t *m, const char *name) {
    sh_protobuf_value_t value;
    return find_value(bytes, field(m, name), m, 0, &value);
}

static sh_protobuf_value_t get_at(sh_str_t bytes, const sh_protobuf_message_t *m, const char *name, size_t index) {
    sh_protobuf_value_t value;
    assert_true(find_value(bytes, field(m, name), m, index, &value) > index);
    return value;
}

static sh_protobuf_value_t get(sh_str_t bytes, const sh_protobuf_message_t *m, const char *name) { return get_at(bytes, m, name, 0); }

/* The bytes of a buffer, which is disposed of. */
static sh_str_t take(sh_buf_t *out) {
    sh_str_t bytes = sh_arena_str(&arena, sh_buf_str(out));
    sh_buf_dispose(out);
    return bytes;
}

/* The message, read and written again. */
static sh_str_t again(const sh_protobuf_message_t *m, sh_str_t bytes) {
    sh_protobuf_reader_t reader;
    sh_buf_t out = {0};
    assert_int_equal(sh_protobuf_reader_init(&reader, m, bytes), SH_OK);
    assert_int_equal(sh_test_protobuf_copy(&reader, &out), 0);
    return take(&out);
}

static int try_read(const char *name, sh_str_t bytes) {
    sh_protobuf_reader_t reader;
    int rc = sh_protobuf_reader_init(&reader, find(name), bytes);
    return rc ? rc : sh_test_protobuf_copy(&reader, NULL);
}

static void assert_text(sh_str_t got, const char *expected) { assert_string_equal(sh_arena_str(&arena, got).ptr, expected); }

/* ---- values */

static const char extremes_text[] = "a: -1.7976931348623157e+308\nb: 0.5\nc: -9223372036854775808\nd: 18446744073709551615\ne: -2147483648\n"
                                    "f: 18446744073709551615\ng: 4294967295\nh: true\ni: \"\\303\\261\"\nj: \"\\000\\377\"\nk: 4294967295\n"
                                    "l: DARK\nm: -2147483648\nn: -9223372036854775808\no: -2147483648\np: -9223372036854775808\n";

static void every_scalar_is_written_as_protoc_reads_it(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Scalars");
    sh_buf_t out = {0}, *s = &out;
    set_value(s, m, "a", (sh_protobuf_value_t){.number = -DBL_MAX});
    set_value(s, m, "b", (sh_protobuf_value_t){.number = 0.5});
    static const char *const i64s[] = {"c", "n", "p"}, *const i32s[] = {"e", "m", "o"}, *const u64s[] = {"d", "f"}, *const u32s[] = {"g", "k"};
    for (int i = 0; i < 3; i++) set_value(s, m, i64s[i], (sh_protobuf_value_t){.i64 = INT64_MIN});
    for (int i = 0; i < 3; i++) set_value(s, m, i32s[i], (sh_protobuf_value_t){.i64 = INT32_MIN});
    for (int i = 0; i < 2; i++) set_value(s, m, u64s[i], (sh_protobuf_value_t){.u64 = UINT64_MAX});
    for (int i = 0; i < 2; i++) set_value(s, m, u32s[i], (sh_protobuf_value_t){.u64 = UINT32_MAX});
    set_value(s, m, "h", (sh_protobuf_value_t){.boolean = true});
    set_value(s, m, "i", (sh_protobuf_value_t){.text = SH_STR("ñ")});
    set_value(s, m, "j", (sh_protobuf_value_t){.text = SH_STR("\0\xff")});
    set_value(s, m, "l", (sh_protobuf_value_t){.i64 = -1});
    assert_text(protoc("decode", "t.Scalars", take(s)), extremes_text);
}

static void every_scalar_is_read_as_protoc_writes_it(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Scalars");
    sh_str_t s = protoc("encode", "t.Scalars", SH_STR(extremes_text));
    assert_true(get(s, m, "a").number == -DBL_MAX && get(s, m, "b").number == 0.5);
    assert_true(get(s, m, "c").i64 == INT64_MIN && get(s, m, "n").i64 == INT64_MIN && get(s, m, "p").i64 == INT64_MIN);
    assert_true(get(s, m, "e").i64 == INT32_MIN && get(s, m, "m").i64 == INT32_MIN && get(s, m, "o").i64 == INT32_MIN);
    assert_true(get(s, m, "d").u64 == UINT64_MAX && get(s, m, "f").u64 == UINT64_MAX);
    assert_true(get(s, m, "g").u64 == UINT32_MAX && get(s, m, "k").u64 == UINT32_MAX);
    assert_true(get(s, m, "h").boolean && get(s, m, "l").i64 == -1);
    assert_true(sh_str_eq(get(s, m, "i").text, SH_STR("ñ")) && sh_str_eq(get(s, m, "j").text, SH_STR("\0\xff")));
    assert_true(sh_str_eq(again(m, s), s));
}

static void defaults_take_no_bytes(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Scalars");
    sh_buf_t out = {0};
    for (uint32_t i = 0; i < sh_protobuf_field_count(m); i++) {
        sh_protobuf_value_t value = {.text = SH_STR("")};
        if (sh_protobuf_field_at(m, i)->encoding != SH_PROTOBUF_LENGTH) value.u64 = 0;
        assert_int_equal(sh_protobuf_put(&out, sh_protobuf_field_at(m, i), value), SH_OK);
    }
    assert_int_equal(out.len, 0);
    assert_int_equal(try_read("t.Scalars", SH_STR("")), SH_OK);
    assert_int_equal(try_read("t.Nothing", SH_STR("")), SH_OK);
}

static void values_that_do_not_fit_are_refused(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Scalars");
    sh_buf_t out = {0};
    assert_int_equal(sh_protobuf_put(&out, field(m, "e"), (sh_protobuf_value_t){.i64 = INT32_MAX + 1ll}), SH_EINVAL);
    assert_int_equal(sh_protobuf_put(&out, field(m, "l"), (sh_protobuf_value_t){.i64 = INT32_MIN - 1ll}), SH_EINVAL);
    assert_int_equal(sh_protobuf_put(&out, field(m, "k"), (sh_protobuf_value_t){.u64 = UINT32_MAX + 1ull}), SH_EINVAL);
    assert_int_equal(sh_protobuf_put(&out, field(m, "i"), (sh_protobuf_value_t){.text = SH_STR("a\0b")}), SH_EINVAL);
    assert_int_equal(sh_protobuf_put(&out, field(m, "i"), (sh_protobuf_value_t){.text = SH_STR("\xff")}), SH_EINVAL);
    assert_int_equal(out.len, 0);
}

/* ---- lists, presence, nesting */

static const char lists_text[] = "packed: 1\npacked: -1\npacked: 300\nloose: 5\nloose: 6\ntexts: \"a\"\ntexts: \"\"\nmessages {\n  e: 1\n}\n"
                                 "messages {\n}\nflags: true\nflags: false\ndoubles: 1.5\nblobs: \"x\"\ncolours: BLUE\ncolours: RED\nfixed: 9\n";

static void lists_go_both_ways(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Lists");
    sh_str_t bytes = protoc("encode", "t.Lists", SH_STR(lists_text));
    assert_int_equal(count(bytes, m, "packed"), 3);
    assert_int_equal(get_at(bytes, m, "packed", 1).i64, -1);
    assert_int_equal(get_at(bytes, m, "loose", 1).i64, 6);
    assert_int_equal(get_at(bytes, m, "colours", 0).i64, 7);
    assert_int_equal(get_at(bytes, m, "texts", 1).text.len, 0);
    assert_int_equal(get(get_at(bytes, m, "messages", 0).text, find("t.Scalars"), "e").i64, 1);
    assert_true(sh_str_eq(again(m, bytes), bytes));

    sh_buf_t made = {0};
    for (size_t i = 0; i < 2; i++) set_value(&made, m, "texts", (sh_protobuf_value_t){.text = SH_STR("z")});
    size_t run = sh_protobuf_open(&made, field(m, "packed"));
    for (int64_t i = 0; i < 200; i++) set_value(&made, m, "packed", (sh_protobuf_value_t){.i64 = -i}); /* its length takes two bytes */
    sh_protobuf_close(&made, run);
    sh_str_t written = take(&made);
    assert_int_equal(get_at(written, m, "packed", 199).i64, -199);
    assert_true(sh_str_has_prefix(protoc("decode", "t.Lists", written), SH_STR("packed: 0\npacked: -1\n")));
    assert_non_null(strstr(protoc("decode", "t.Lists", written).ptr, "packed: -199\ntexts: \"z\"\ntexts: \"z\"\n"));
}

static void numbers_in_lists_are_read_packed_and_loose(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Lists");
    sh_str_t s = SH_STR("\x08\x07\x0a\x02\x01\x02\x12\x02\x03\x04"); /* packed: 7 loose, then 1 2 packed; loose: 3 4 packed */
    assert_int_equal(count(s, m, "packed"), 3);
    assert_int_equal(get_at(s, m, "packed", 2).i64, 2);
    assert_int_equal(count(s, m, "loose"), 2);
}

static void presence_is_told_from_the_default(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("t.Presence");
    sh_buf_t out = {0}, *s = &out;
    set_value(s, m, "number", (sh_protobuf_value_t){.i64 = 0});
    set_value(s, m, "text", (sh_protobuf_value_t){.text = SH_STR("")});
    set_value(s, m, "flag", (sh_protobuf_value_t){.boolean = false});
    set_value(s, m, "blob", (sh_protobuf_value_t){.text = SH_STR("")});
    sh_protobuf_close(s, sh_protobuf_open(s, field(m, "message")));
    static const char text[] = "number: 0\ntext: \"\"\nflag: false\nblob: \"\"\nmessage {\n}\n";
    assert_text(protoc("decode", "t.Presence", take(s)), text);
    sh_str_t theirs = protoc("encode", "t.Presence", SH_STR(text));
    for (uint32_t i = 0; i < sh_protobuf_field_count(m); i++) assert_int_equal(count(theirs, m, sh_protobuf_field_at(m, i)->name.ptr), 1);
}

static void messages_nest_across_files_and_scopes(void **state) {
    (void)state;
    static const char text[] =
        "name: \"root\"\nleft {\n  name: \"l\"\n  children {\n    name: \"c\"\n  }\n}\nthing {\n  id: \"x\"\n}\ndeep {\n  n: 4\n}\n";
    const sh_protobuf_message_t *tree = find("t.Tree");
    sh_str_t bytes = protoc("encode", "t.Tree", SH_STR(text));
    assert_int_equal(get(get(bytes, tree, "deep").text, find("t.Tree.Inner.Deep"), "n").i64, 4);
    assert_text(get(get(bytes, tree, "thing").text, find("other.Thing"), "id").text, "x");
    assert_true(sh_str_eq(again(tree, bytes), bytes));
    assert_text(sh_protobuf_short_name(find("t.Tree.Inner.Deep")), "Deep");
    assert_string_equal(sh_protobuf_type_text(field(find("t.Tree.Inner.Deep"), "mood")), "Mood");
    assert_string_equal(sh_protobuf_nearest(pb, "t.Scalar"), "t.Scalars");
    assert_string_equal(sh_protobuf_nearest_field(tree, "childen"), "children");
}

/* ---- bytes from elsewhere */

static void unknown_fields_are_skipped(void **state) {
    (void)state;
    const sh_protobuf_message_t *m = find("other.Thing");
    sh_str_t s = SH_STR("\x10\x05\x1a\x03xyz\x0a\x01i\x25\x01\x02\x03\x04\x29\x01\x02\x03\x04\x05\x06\x07\x08");
    assert_text(get(s, m, "id").text, "i");
}

static void malformed_bytes_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *message;
        sh_str_t bytes;
    } cases[] = {
        {"t.Scalars", {"\x08", 1}},                                              /* a tag alone */
        {"t.Scalars", {"\x00\x01", 2}},                                          /* field number 0 */
        {"t.Scalars", {"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}}, /* a varint of 11 bytes */
        {"t.Scalars", {"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}},     /* more than 64 bits */
        {"t.Scalars",
         {"\x4a\x05"
          "abc",
          5}},                                                               /* a length beyond the end */
        {"t.Scalars", {"\x4a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}}, /* a length of 2^64 - 1 */
        {"t.Scalars", {"\x4a\x01\xff", 3}},                                  /* not UTF-8 */
        {"t.Scalars",
         {"\x4a\x03"
          "a\0b",
          5}},                                   /* NUL inside a string */
        {"t.Scalars", {"\x0a\x08xxxxxxxx", 10}}, /* a double as length-delimited */
        {"t.Scalars", {"\x48\x01", 2}},          /* a string as varint */
        {"t.Scalars", {"\x2b\x2c", 2}},          /* a group */
        {"t.Scalars", {"\x2e", 1}},              /* wire type 6 */
        {"t.Lists", {"\x0a\x01\x80", 3}},        /* half a varint in a packed run */
        {"t.Lists", {"\x32\x07xxxxxxx", 9}},     /* 7 bytes of packed doubles */
        {"t.Lists", {"\x1a\x02\xc3\x28", 4}},    /* not UTF-8 in a list */
        {"t.Tree", {"\x12\x02\x0a\x05", 4}},     /* truncated inside */
        {"t.Tree", {"\x12\x00\x12\x00", 4}},     /* a singular message twice */
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++)
        if (try_read(cases[i].message, cases[i].bytes) != SH_EINVAL) fail_msg("case %zu was taken", i);
}

static void every_truncation_is_survived(void **state) {
    (void)state;
    sh_str_t bytes = protoc("encode", "t.Lists", SH_STR(lists_text));
    int refused = 0;
    for (size_t n = 0; n < bytes.len; n++) {
        char *cut = malloc(n ? n : 1); /* its own, so that a read behind it is seen */
        memcpy(cut, bytes.ptr, n);
        refused += try_read("t.Lists", sh_str(cut, n)) == SH_EINVAL;
        free(cut);
    }
    assert_true(refused > (int)bytes.len / 3);
}

/* `depth` trees inside each other, by lists when `lists`. */
static sh_str_t tower(int depth, bool lists) {
    sh_buf_t inner = {0}, outer = {0};
    for (int i = 1; i < depth; i++) {
        sh_buf_clear(&outer);
        sh_buf_put_byte(&outer, lists ? 0x1a : 0x12);
        assert_true(inner.len < 128);
        sh_buf_put_byte(&outer, (char)inner.len);
        sh_buf_put_str(&outer, sh_buf_str(&inner));
        sh_buf_t swap = inner;
        inner = outer;
        outer = swap;
    }
    sh_str_t bytes = sh_arena_str(&arena, sh_buf_str(&inner));
    sh_buf_dispose(&inner);
    sh_buf_dispose(&outer);
    return bytes;
}

static void limits_hold(void **state) {
    (void)state;
    assert_int_equal(try_read("t.Tree", tower(SH_PROTOBUF_DEPTH_MAX, false)), SH_OK);
    assert_int_equal(try_read("t.Tree", tower(SH_PROTOBUF_DEPTH_MAX + 1, false)), SH_ELIMIT);
    assert_int_equal(try_read("t.Tree", tower(SH_PROTOBUF_DEPTH_MAX + 1, true)), SH_ELIMIT);

    char *many = sh_arena_calloc(&arena, SH_PROTOBUF_BYTES_MAX + 1);
    for (size_t i = 0; i < SH_PROTOBUF_BYTES_MAX; i += 2) many[i] = 0x22, many[i + 1] = 0; /* Lists.messages, empty ones */
    assert_int_equal(try_read("t.Lists", sh_str(many, 2 * SH_PROTOBUF_VALUES_MAX)), SH_OK);
    assert_int_equal(try_read("t.Lists", sh_str(many, 2 * SH_PROTOBUF_VALUES_MAX + 2)), SH_ELIMIT);
    assert_int_equal(try_read("t.Lists", sh_str(many, SH_PROTOBUF_BYTES_MAX + 1)), SH_ELIMIT);
}

/* ---- descriptors */

/* What sh_protobuf_create() says to a file with this text, compiled with `options`. */
static const char *refusal(const char *text, const char *options) {
    static char err[256];
    char command[512], path[64];
    sh_protobuf_t *made = NULL;
    write_file("bad.proto", text, strlen(text));
    snprintf(command, sizeof command, "cd %s && protoc %s --descriptor_set_out=bad.bin -I. bad.proto && rm bad.proto", folder, options);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/bad.bin", folder);
    assert_int_equal(sh_protobuf_create(read_file(path), &made, err, sizeof err), SH_EINVAL);
    return err;
}

static void what_is_not_supported_is_refused_by_name(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"package b; message M { optional int32 a = 1; }", "bad.proto: only proto3 is supported"},
        {"syntax = \"proto2\"; package b; message M { optional group G = 1 {} }", "bad.proto: only proto3 is supported"},
        {"syntax = \"proto3\"; package b; message M { map<string, int32> a = 1; }", "bad.proto: b.M: maps are not supported"},
        {"syntax = \"proto3\"; package b; message M { oneof x { int32 a = 1; string b = 2; } }", "b.M.a: oneof is not supported"},
        {"syntax = \"proto3\"; package b; enum E { ZERO = 0; }", "declares no message"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        const char *err = refusal(cases[i][0], "--include_imports");
        if (!strstr(err, cases[i][1])) fail_msg("case %zu: %s", i, err);
    }
    assert_non_null(strstr(refusal("syntax = \"proto3\"; import \"other.proto\"; message M { other.Thing t = 1; }", ""),
                           "M.t: its type .other.Thing is not in the set; write it with --include_imports"));
}

static void junk_descriptors_do_no_harm(void **state) {
    (void)state;
    char err[256];
    sh_protobuf_t *made;
    char *copy = malloc(set.len);
    for (size_t i = 0; i < set.len; i++) {
        memcpy(copy, set.ptr, set.len);
        copy[i] = (char)(copy[i] ^ (1 << i % 8));
        if (sh_protobuf_create(sh_str(copy, set.len), &made, err, sizeof err) == SH_OK) sh_protobuf_destroy(made);
        if (sh_protobuf_create(sh_str(copy, i), &made, err, sizeof err) == SH_OK) sh_protobuf_destroy(made);
    }
    free(copy);
    assert_int_equal(sh_protobuf_create(SH_STR_NULL, &made, err, sizeof err), SH_EINVAL);
    assert_int_equal(sh_protobuf_create(SH_STR("hello"), &made, err, sizeof err), SH_EINVAL);
    sh_protobuf_destroy(NULL);
}

/* ---- the events of this project */

static const char *const subjects[] = {
    "quotation.created",
    "quotation.submitted",
    "quotation.returned",
    "quotation.approved",
    "quotation.cancelled",
    "quotation.expired",
    "quotation.revised",
    "quotation.sent",
    "quotation.accepted",
    "quotation.declined",
    "stock.reduced",
    "stock.rejected",
    "stock.reserved",
    "stock.reservation_rejected",
    "stock.released",
    "stock.low",
    "customer.created",
    "customer.updated",
    "customer.merged",
    "product.created",
    "product.updated",
    "product.price_changed",
    "user.password_reset_requested",
};

static sh_protobuf_t *load_events(void) {
    sh_buf_t blob = {0}, error = {0};
    sh_protobuf_t *events = NULL;
    char err[256];
    if (sh_proto_compile(SHAMA_SOURCE_DIR "/config/proto", &blob, &error)) fail_msg("%s", sh_buf_c(&error));
    if (sh_protobuf_create(sh_buf_str(&blob), &events, err, sizeof err)) fail_msg("%s", err);
    sh_buf_dispose(&blob);
    return events;
}

static void every_subject_has_its_message(void **state) {
    (void)state;
    sh_protobuf_t *events = load_events();
    for (size_t i = 0; i < SH_ARRAY_LEN(subjects); i++) {
        const sh_protobuf_message_t *m = sh_protobuf_of_subject(events, sh_str_of(subjects[i]));
        if (!m) fail_msg("no message for %s", subjects[i]);
        assert_int_equal(field(m, "timestamp")->number, 3);
        assert_int_equal(field(m, "timestamp")->kind, SH_PROTOBUF_INT64);
        for (uint32_t f = 0; f < sh_protobuf_field_count(m); f++) {
            const sh_protobuf_field_t *money = sh_protobuf_field_at(m, f);
            char exact[64];
            if (money->kind != SH_PROTOBUF_DOUBLE) continue;
            snprintf(exact, sizeof exact, "%s_exact", money->name.ptr);
            assert_true(field(m, exact)->number >= 5);
        }
    }
    assert_text(sh_protobuf_name(sh_protobuf_of_subject(events, SH_STR("stock.reservation_rejected"))), "shama.events.StockReservationRejectedEvent");
    static const char *const wrong[] = {"", ".", "stock", "stock.", ".low", "stock..low", "stock._low", "stock.Low.failed", "stock.low.failed"};
    for (size_t i = 0; i < SH_ARRAY_LEN(wrong); i++) assert_null(sh_protobuf_of_subject(events, sh_str_of(wrong[i])));
    char *long_subject = sh_arena_printf(&arena, "%0*d", 1000, 0);
    assert_null(sh_protobuf_of_subject(events, sh_str_of(long_subject)));
    sh_protobuf_destroy(events);
}

/* The comment above each event says its subject; it must be the one that the rule makes of its name, and none may lack it. */
static void subjects_in_comments_are_true(void **state) {
    (void)state;
    static const char *const files[] = {"quotation", "stock", "customer", "product", "user"};
    sh_protobuf_t *events = load_events();
    size_t found = 0;
    for (size_t i = 0; i < SH_ARRAY_LEN(files); i++) {
        char *save = NULL, subject[128] = "", name[128];
        char *text = (char *)(uintptr_t)read_file(sh_arena_printf(&arena, "%s/config/proto/%s.proto", SHAMA_SOURCE_DIR, files[i])).ptr;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            if (sscanf(line, "// subject: %127s", subject) == 1 || sscanf(line, "message %127[A-Za-z]", name) != 1) continue;
            if (subject[0] == 0) {
                assert_null(strstr(name, "Event"));
                continue;
            }
            const sh_protobuf_message_t *m = sh_protobuf_of_subject(events, sh_str_of(subject));
            assert_non_null(m);
            assert_string_equal(sh_protobuf_short_name(m).ptr, name);
            subject[0] = 0;
            found++;
        }
    }
    assert_int_equal(found, SH_ARRAY_LEN(subjects));
    sh_protobuf_destroy(events);
}

static void the_given_contract_is_kept(void **state) {
    (void)state;
    static const struct {
        const char *message, *field;
        uint32_t number;
        sh_protobuf_kind_t kind;
    } given[] = {
        {"shama.events.QuotationApprovedEvent", "quotation_id", 1, SH_PROTOBUF_STRING},
        {"shama.events.QuotationApprovedEvent", "total_amount", 2, SH_PROTOBUF_DOUBLE},
        {"shama.events.QuotationApprovedEvent", "timestamp", 3, SH_PROTOBUF_INT64},
        {"shama.events.QuotationApprovedEvent", "line_items", 4, SH_PROTOBUF_MESSAGE},
        {"shama.events.LineItem", "product_id", 1, SH_PROTOBUF_STRING},
        {"shama.events.LineItem", "quantity", 2, SH_PROTOBUF_INT32},
        {"shama.events.LineItem", "unit_price", 3, SH_PROTOBUF_DOUBLE},
    };
    sh_protobuf_t *events = load_events();
    for (size_t i = 0; i < SH_ARRAY_LEN(given); i++) {
        const sh_protobuf_field_t *f = sh_protobuf_field(sh_protobuf_find(events, sh_str_of(given[i].message)), sh_str_of(given[i].field));
        assert_non_null(f);
        assert_int_equal(f->number, given[i].number);
        assert_int_equal(f->kind, given[i].kind);
        assert_int_equal(f->is_repeated, strcmp(given[i].field, "line_items") == 0);
    }
    sh_protobuf_destroy(events);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_is_written_as_protoc_reads_it),
        cmocka_unit_test(every_scalar_is_read_as_protoc_writes_it),
        cmocka_unit_test(defaults_take_no_bytes),
        cmocka_unit_test(values_that_do_not_fit_are_refused),
        cmocka_unit_test(lists_go_both_ways),
        cmocka_unit_test(numbers_in_lists_are_read_packed_and_loose),
        cmocka_unit_test(presence_is_told_from_the_default),
        cmocka_unit_test(messages_nest_across_files_and_scopes),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(every_truncation_is_survived),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(junk_descriptors_do_no_harm),
        cmocka_unit_test(every_subject_has_its_message),
        cmocka_unit_test(subjects_in_comments_are_true),
        cmocka_unit_test(the_given_contract_is_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
