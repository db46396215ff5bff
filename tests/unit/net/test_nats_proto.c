/* Proves that what a server sends is read the same however it is cut, that what breaks a rule is refused and names the rule, that what is written
 * is the protocol's, and that headers are found in blocks good and bad. How: bytes by hand, no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/nats_proto.h"

#include <stdlib.h>

enum { PAYLOAD_MAX = 1024 };

#define BLOCK "NATS/1.0\r\nNats-Msg-Id: 7\r\nEmpty:\r\n\r\n"

/* What the parser says, as one text. */
static void tell(sh_buf_t *out, sh_nats_event_t event, sh_nats_parser_t *parser) {
    static const char *const names[] = {"MORE", "MSG", "PING", "PONG", "INFO", "OK", "ERR", "BAD"};
    if (event == SH_NATS_EVENT_MORE) return;
    sh_buf_put_c(out, names[event]);
    if (event == SH_NATS_EVENT_INFO || event == SH_NATS_EVENT_ERR || event == SH_NATS_EVENT_BAD) {
        sh_buf_put_byte(out, '(');
        sh_buf_put_str(out, parser->text);
        sh_buf_put_byte(out, ')');
    }
    if (event == SH_NATS_EVENT_MSG) {
        sh_nats_raw_t *msg = parser->msg;
        sh_str_t subject = sh_nats_raw_subject(msg), reply = sh_nats_raw_reply(msg);
        assert_int_equal(subject.ptr[subject.len] | reply.ptr[reply.len], 0);
        sh_buf_printf(out, "(%s,%s,", subject.ptr, reply.ptr);
        sh_buf_put(out, sh_nats_raw_block(msg), msg->block_len);
        sh_buf_put_byte(out, ',');
        sh_buf_put_str(out, sh_nats_raw_payload(msg));
        sh_buf_put_byte(out, ')');
        sh_nats_raw_destroy(msg);
    }
    sh_buf_put_byte(out, ' ');
}

/* Feeds `bytes` in two pieces, each in memory of its own, so that a byte read too far is seen. */
static void parse_cut(sh_str_t bytes, size_t cut, sh_buf_t *out) {
    sh_nats_parser_t parser;
    const size_t sizes[] = {cut, bytes.len - cut};
    bool is_bad = false;
    sh_nats_parser_init(&parser, PAYLOAD_MAX);
    for (size_t i = 0, from = 0; i < 2 && !is_bad; from += sizes[i++]) {
        char *piece = sh_alloc(sizes[i] + 1);
        size_t at = 0;
        memcpy(piece, bytes.ptr + from, sizes[i]);
        piece = sh_realloc(piece, sizes[i] ? sizes[i] : 1);
        for (sh_nats_event_t event = SH_NATS_EVENT_PING; event != SH_NATS_EVENT_MORE && !is_bad;) {
            size_t used;
            event = sh_nats_parser_feed(&parser, piece + at, sizes[i] - at, &used);
            at += used;
            tell(out, event, &parser);
            is_bad = event == SH_NATS_EVENT_BAD;
        }
        assert_true(is_bad || at == sizes[i]);
        free(piece);
    }
    sh_nats_parser_dispose(&parser);
}

static void is_read_as(sh_str_t bytes, const char *told) {
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        sh_buf_t out = {0};
        parse_cut(bytes, cut, &out);
        assert_string_equal(sh_buf_c(&out), told);
        sh_buf_dispose(&out);
    }
}

static void operations_are_read_however_they_are_cut(void **state) {
    (void)state;
    is_read_as(SH_STR("INFO {\"max_payload\":10}\r\nPING\r\nPONG\r\n+OK\r\n"), "INFO({\"max_payload\":10}) PING PONG OK ");
    is_read_as(SH_STR("info {}\r\nping\r\nPong\r\n+ok\r\n-err 'Unknown'\r\n"), "INFO({}) PING PONG OK ERR(Unknown) ");
    is_read_as(SH_STR("-ERR 'Permissions Violation for Publish to \"a\"'\r\n-ERR\r\n"), "ERR(Permissions Violation for Publish to \"a\") ERR() ");
    is_read_as(SH_STR("MSG a.b 1 5\r\nhello\r\nMSG a.b 1 c.d 0\r\n\r\nPING\r\n"), "MSG(a.b,,,hello) MSG(a.b,c.d,,) PING ");
    is_read_as(SH_STR("msg\ta  1\tr  4 \r\n\r\n\r\n\r\nPING\r\n"), "MSG(a,r,,\r\n\r\n) PING ");
    is_read_as(SH_STR("HMSG a 1 36 38\r\n" BLOCK "hi\r\nHMSG a 1 r 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n"),
               "MSG(a,," BLOCK ",hi) MSG(a,r,NATS/1.0 503 No Responders\r\n\r\n,) ");
}

static void what_breaks_a_rule_is_refused(void **state) {
    (void)state;
    is_read_as(SH_STR("PING\n"), "BAD(a line does not end with CRLF) ");
    is_read_as(SH_STR("\n"), "BAD(a line does not end with CRLF) ");
    is_read_as(SH_STR("\r\n"), "BAD(unknown operation) ");
    is_read_as(SH_STR("PING \r\r\n"), "BAD(a line has a CR or NUL in it) ");
    is_read_as(SH_STR("PI\0NG\r\n"), "BAD(a line has a CR or NUL in it) ");
    is_read_as(SH_STR("PING now\r\n"), "BAD(unknown operation) ");
    is_read_as(SH_STR("PUB a 0\r\n\r\n"), "BAD(unknown operation) ");
    is_read_as(SH_STR("MSG a 5\r\nhello\r\n"), "BAD(a message's line has too few or too many words) ");
    is_read_as(SH_STR("MSG a 1 b c 5\r\nhello\r\n"), "BAD(a message's line has too few or too many words) ");
    is_read_as(SH_STR("HMSG a 1 5\r\nhello\r\n"), "BAD(a message's line has too few or too many words) ");
    is_read_as(SH_STR("HMSG a 1 b c 5 5 5\r\nhello\r\n"), "BAD(a message's line has too few or too many words) ");
    is_read_as(SH_STR("MSG a 1 -1\r\n"), "BAD(a message's size is no number, or too large) ");
    is_read_as(SH_STR("MSG a 1 05\r\nhello\r\n"), "BAD(a message's size is no number, or too large) ");
    is_read_as(SH_STR("MSG a 1 5x\r\nhello\r\n"), "BAD(a message's size is no number, or too large) ");
    is_read_as(SH_STR("MSG a 1 66561\r\n"), "BAD(a message's size is no number, or too large) ");
    is_read_as(SH_STR("MSG a 1 99999999999999999999\r\n"), "BAD(a message's size is no number, or too large) ");
    is_read_as(SH_STR("HMSG a 1 6 5\r\nhello\r\n"), "BAD(the size of a message's headers is no number, or too large) ");
    is_read_as(SH_STR("MSG a 1 5\r\nhelloX\r\n"), "BAD(a message is longer than its line says) ");
    is_read_as(SH_STR("MSG a 1 5\r\nhello\rX"), "BAD(a message is longer than its line says) ");
}

/* `head`, then so many x that the line has `len` bytes with its CRLF. */
static const char *parse_long(const char *head, size_t len, sh_buf_t *out) {
    sh_buf_t line = {0};
    sh_buf_put_c(&line, head);
    while (line.len < len - 2) sh_buf_put_byte(&line, 'x');
    sh_buf_put_lit(&line, "\r\n");
    sh_buf_clear(out);
    parse_cut(sh_buf_str(&line), line.len / 2, out);
    sh_buf_dispose(&line);
    return sh_buf_c(out);
}

static void lines_are_bounded(void **state) {
    (void)state;
    sh_buf_t out = {0};
    assert_memory_equal(parse_long("-ERR ", SH_NATS_LINE_MAX, &out), "ERR(x", 5);
    assert_string_equal(parse_long("-ERR ", SH_NATS_LINE_MAX + 1, &out), "BAD(a line is too long) ");
    assert_memory_equal(parse_long("INFO ", SH_NATS_INFO_MAX, &out), "INFO(x", 6);
    assert_string_equal(parse_long("INFO ", SH_NATS_INFO_MAX + 1, &out), "BAD(a line is too long) ");
    assert_string_equal(parse_long("", 2 * SH_NATS_LINE_MAX, &out), "BAD(a line is too long) ");
    sh_buf_dispose(&out);
}

static void info_tells_what_matters(void **state) {
    (void)state;
    sh_nats_info_t info;
    assert_int_equal(sh_nats_info_read(SH_STR("{\"max_payload\":1048576,\"headers\":true,\"tls_required\":true}"), &info), 0);
    assert_true(info.payload_max == 1048576 && info.has_headers && info.is_tls_required && !info.is_tls_available);
    assert_int_equal(sh_nats_info_read(SH_STR("{\"max_payload\":999999999999,\"tls_available\":true}"), &info), 0);
    assert_true(info.payload_max == SH_NATS_PAYLOAD_CEILING && !info.has_headers && info.is_tls_available);
    static const char *const useless[] = {"", "{", "[]", "{}", "{\"max_payload\":0}", "{\"max_payload\":\"1\"}", "{\"max_payload\":-5}"};
    for (size_t i = 0; i < SH_ARRAY_LEN(useless); i++) assert_int_equal(sh_nats_info_read(sh_str_of(useless[i]), &info), SH_EINVAL);
}

static void errors_that_end_are_told_from_others(void **state) {
    (void)state;
    assert_true(sh_nats_is_survivable(SH_STR("Permissions Violation for Publish to \"a\"")));
    assert_true(sh_nats_is_survivable(SH_STR("invalid subject")));
    assert_false(sh_nats_is_survivable(SH_STR("Authorization Violation")));
    assert_false(sh_nats_is_survivable(SH_STR("Permissions")));
    assert_false(sh_nats_is_survivable(SH_STR_NULL));
}

static void what_is_written_is_the_protocol(void **state) {
    (void)state;
    const sh_nats_header_t headers[] = {{SH_STR("A"), SH_STR("1")}, {SH_STR("Bc"), SH_STR_NULL}};
    sh_buf_t out = {0};
    sh_nats_write_publish(&out, SH_STR("a.b"), SH_STR_NULL, NULL, 0, SH_STR("hi"));
    sh_nats_write_publish(&out, SH_STR("a"), SH_STR("r.1"), NULL, 0, SH_STR_NULL);
    sh_nats_write_publish(&out, SH_STR("a"), SH_STR("r"), headers, 2, SH_STR("hello"));
    sh_nats_write_publish(&out, SH_STR("a"), SH_STR_NULL, headers, 1, SH_STR_NULL);
    assert_string_equal(sh_buf_c(&out), "PUB a.b 2\r\nhi\r\nPUB a r.1 0\r\n\r\n"
                                        "HPUB a r 24 29\r\nNATS/1.0\r\nA: 1\r\nBc: \r\n\r\nhello\r\n"
                                        "HPUB a 18 18\r\nNATS/1.0\r\nA: 1\r\n\r\n\r\n");
    sh_buf_dispose(&out);
}

static void subjects_and_headers_are_checked(void **state) {
    (void)state;
    static const char *const good[] = {"a", "a.b.c", "$JS.API.x", "_INBOX.1.r0", "a.*", "\xc3\xb1.b"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB b", "a\x7f", "a\x01"};
    for (size_t i = 0; i < SH_ARRAY_LEN(good); i++) assert_true(sh_nats_is_subject(sh_str_of(good[i])));
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) assert_false(sh_nats_is_subject(sh_str_of(bad[i])));
    assert_false(sh_nats_is_subject(SH_STR("a\0b")));
    assert_true(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A-1"), SH_STR("x: y\tz \xc3\xb1")}));
    assert_true(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A"), SH_STR_NULL}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR_NULL, SH_STR("x")}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A:"), SH_STR("x")}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A b"), SH_STR("x")}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A"), SH_STR("x\ny")}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A"), SH_STR("x\ry")}));
    assert_false(sh_nats_is_header(&(sh_nats_header_t){SH_STR("A"), SH_STR("x\0y")}));
}

static sh_nats_raw_t *with_block(const char *block) {
    sh_nats_raw_t *raw = sh_nats_raw_alloc(SH_STR("a"), SH_STR_NULL, strlen(block), 0);
    memcpy(sh_nats_raw_block(raw), block, strlen(block));
    return raw;
}

static void header_is(const char *block, const char *name, const char *value) {
    sh_nats_raw_t *raw = with_block(block);
    sh_str_t found = sh_nats_raw_header(raw, name);
    assert_true(value ? found.ptr && sh_str_eq_c(found, value) : !found.ptr);
    sh_nats_raw_destroy(raw);
}

static void headers_are_found(void **state) {
    (void)state;
    header_is("NATS/1.0\r\nA: 1\r\nB:2\r\nA: 3\r\n\r\n", "A", "1");
    header_is("NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n", "B", "2");
    header_is("NATS/1.0\r\nA: \t x: y \t\r\n\r\n", "A", "x: y");
    header_is("NATS/1.0\r\nA:\r\n\r\n", "A", "");
    header_is("NATS/1.0\r\nA: 1\r\n\r\n", "a", NULL);
    header_is("NATS/1.0\r\nAb: 1\r\n\r\n", "A", NULL);
    header_is("NATS/1.0 503 No Responders\r\n\r\n", "Status", "503");
    header_is("NATS/1.0 503 No Responders\r\n\r\n", "Description", "No Responders");
    header_is("NATS/1.0 100\r\nA: 1\r\n\r\n", "Description", NULL);
    header_is("NATS/1.0 100\r\nA: 1\r\n\r\n", "A", "1");
    header_is("", "A", NULL);
    header_is("HTTP/1.1 200\r\nA: 1\r\n\r\n", "A", NULL);
    header_is("NATS/1.0\r\nno colon\r\n: no name\r\nA: 1\r\n", "A", "1");
    header_is("NATS/1.0\r\nA: cut", "A", NULL);
}

static void headers_are_listed_once(void **state) {
    (void)state;
    sh_nats_header_t out[4];
    sh_nats_raw_t *raw = with_block("NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: 4\r\n\r\n");
    assert_int_equal(sh_nats_raw_headers(raw, out, 4), 3);
    assert_true(sh_str_eq_c(out[0].name, "A") && sh_str_eq_c(out[0].value, "1"));
    assert_true(sh_str_eq_c(out[2].name, "C") && sh_str_eq_c(out[2].value, "4"));
    assert_int_equal(sh_nats_raw_headers(raw, out, 2), 2);
    sh_nats_raw_destroy(raw);
}

static void a_made_message_reads_as_a_received_one(void **state) {
    (void)state;
    const sh_nats_header_t good = {SH_STR("A"), SH_STR("1")}, bad = {SH_STR("A"), SH_STR("1\r\nB: 2")};
    sh_nats_raw_t *raw = sh_nats_raw_create("a.b", "r", &good, 1, SH_STR("hi"));
    assert_non_null(raw);
    assert_true(sh_str_eq_c(sh_nats_raw_subject(raw), "a.b") && sh_str_eq_c(sh_nats_raw_reply(raw), "r"));
    assert_true(sh_str_eq_c(sh_nats_raw_header(raw, "A"), "1") && sh_str_eq_c(sh_nats_raw_payload(raw), "hi"));
    sh_nats_raw_destroy(raw);
    assert_null(sh_nats_raw_create("a b", NULL, NULL, 0, SH_STR_NULL));
    assert_null(sh_nats_raw_create("a", "r.", NULL, 0, SH_STR_NULL));
    assert_null(sh_nats_raw_create("a", NULL, &bad, 1, SH_STR_NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_are_read_however_they_are_cut),
        cmocka_unit_test(what_breaks_a_rule_is_refused),
        cmocka_unit_test(lines_are_bounded),
        cmocka_unit_test(info_tells_what_matters),
        cmocka_unit_test(errors_that_end_are_told_from_others),
        cmocka_unit_test(what_is_written_is_the_protocol),
        cmocka_unit_test(subjects_and_headers_are_checked),
        cmocka_unit_test(headers_are_found),
        cmocka_unit_test(headers_are_listed_once),
        cmocka_unit_test(a_made_message_reads_as_a_received_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
