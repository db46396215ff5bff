/* Proves that a document written in Lua is read strictly (each refusal names its place and what to do), that the real quotation template
 * gives a document in both languages, and that a task that renders is parked and resumed with the bytes or a reason, also when it was cancelled
 * or memory is short. The table is read in a bare state; rendering runs in a real vm on a real loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "bind/lua_pdf.h"
#include "host/task.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#define FONTS "/usr/share/fonts/truetype/dejavu"

static const sh_lua_pdf_brand_t brand = {{0xf0, 0xc8, 0x00, true}, {0x2e, 0x27, 0x25, true}};

/* Leaves the chunk's result on a new state. */
static lua_State *evaluate(const char *code) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_loadstring(L, code) || lua_pcall(L, 0, 1, 0)) fail_msg("%s", lua_tostring(L, -1));
    return L;
}

static int read_code(const char *code, sh_arena_t *arena, sh_pdf_doc_t *doc, sh_pdf_error_t *err) {
    lua_State *L = evaluate(code);
    int rc = sh_lua_pdf_read(L, -1, &brand, arena, doc, err);
    assert_int_equal(lua_gettop(L), 1);
    lua_close(L); /* nothing of the document may point into it */
    return rc;
}

static void mistakes(void **state) {
    static const struct {
        const char *code, *says;
    } table[] = {
        {"return 7", "a table was expected, got number"},
        {"return { blocks = {} }", "\"created_at\" is missing"},
        {"return { created_at = 'now', blocks = {} }", "created_at: a time like"},
        {"return { created_at = '2026-11-24T09:00:00Z' }", "\"blocks\" is missing"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = {}, wattermark = 'x' }", "unknown key \"wattermark\" (did you mean \"watermark\"?)"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'txt' } } }", "blocks[1]: unknown kind \"txt\""},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = true } } }",
         "blocks[1].text: a text was expected, got boolean"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = 1.5 } } }", "blocks[1].text: a number with a fraction"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = '', color = 'red' } } }", "blocks[1].color: a colour"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = '', size = -1 } } }",
         "blocks[1].size: a number of points"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = '', size = 0/0 } } }",
         "blocks[1].size: a number of points"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = '', align = 'justify' } } }",
         "\"left\", \"center\" or \"right\""},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'table', columns = { {}, {} }, rows = { { 1, 2 }, { 1 } } } } }",
         "blocks[1].rows[2]: the table has 2 columns, the row 1 cells"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'table', columns = { {} }, rows = { { {} } } } } }",
         "blocks[1].rows[1][1]: a text was expected, got table"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'table', columns = { {} }, rows = { x = 1 } } } }",
         "blocks[1].rows: a list was expected, but it has a key \"x\""},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'columns', columns = { { blocks = { { kind = 'rule', colour = 'line' } } "
         "} } } } }",
         "blocks[1].columns[1].blocks[1]: unknown key \"colour\" (did you mean \"color\"?)"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'pairs', rows = { { 'a' } } } } }",
         "blocks[1].rows[1]: a label and a value"},
        {"local function deep(n) return { kind = 'columns', columns = { { blocks = n > 0 and { deep(n - 1) } or {} } } } end "
         "return { created_at = '2026-11-24T09:00:00Z', blocks = { deep(5) } }",
         "columns within columns go 4 deep"},
        {"local self = { kind = 'columns' } self.columns = { { blocks = { self } } } return { created_at = '2026-11-24T09:00:00Z', blocks = { self } "
         "}",
         "columns within columns go 4 deep"},
        {"return { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = ('x'):rep(5000000) } } }", "more than 4194304 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        sh_arena_t arena;
        sh_pdf_doc_t doc;
        sh_pdf_error_t err = {0};
        sh_arena_init(&arena);
        int rc = read_code(table[i].code, &arena, &doc, &err);
        if (rc == SH_OK || !strstr(err.message, table[i].says)) fail_msg("%s\n  gave: %s", table[i].code, rc ? err.message : "no error");
        assert_int_equal(rc, err.code);
        sh_arena_dispose(&arena);
    }
}

static void colors_follow_the_brand(void **state) {
    sh_arena_t arena;
    sh_pdf_doc_t doc;
    sh_pdf_error_t err;
    (void)state;
    sh_arena_init(&arena);
    assert_int_equal(read_code("return { created_at = '2026-11-24T09:00:00Z', blocks = {"
                               "{ kind = 'text', text = 12, color = 'on_primary' }, { kind = 'text', text = 'b', color = 'on_secondary' },"
                               "{ kind = 'rule', color = '#0aBcDe' } } }",
                               &arena, &doc, &err),
                     SH_OK);
    assert_int_equal(doc.block_count, 3);
    assert_true(sh_str_eq_c(doc.blocks[0].as.text.text, "12"));
    assert_int_equal(doc.blocks[0].as.text.style.color.r, 0x1a); /* dark on yellow */
    assert_int_equal(doc.blocks[1].as.text.style.color.r, 0xff); /* white on brown */
    assert_int_equal(doc.blocks[2].as.rule.color.g, 0xbc);
    sh_arena_dispose(&arena);
}

static void quotation_template(void **state) {
    static const char format[] =
        "local template = dofile('" SHAMA_SOURCE_DIR "/rules/sales/templates/quotation.lua')\n"
        "return template({ number = %s, revision = 2, status = '%s', customer_name = 'Ñandú S.A.', currency = 'USD', valid_until = '2026-12-24',"
        " created_at = '2026-11-24T09:00:00Z', items = { { product_name = 'Tornillo', quantity = 3, unit_price = '1500.00', discount_percent = "
        "'7.50',"
        " line_total = '4162.50' } }, subtotal = '4500.00', discount_total = '337.50', tax_total = '0.00', total_amount = '4162.50' }, '%s', { name "
        "= 'Aceros' })";
    static const struct {
        const char *number, *status, *language, *title, *watermark, *page;
    } table[] = {
        {"nil", "DRAFT", "es", "Cotización Sin número", "BORRADOR", "Página {page} de {pages}"},
        {"'COT-2026-000123'", "DRAFT", "en", "Quotation COT-2026-000123-R2", "DRAFT", "Page {page} of {pages}"},
        {"'COT-2026-000123'", "SOLD", "en", "Quotation COT-2026-000123-R2", "", "Page {page} of {pages}"},
        {"'COT-2026-000123'", "CANCELLED", "fr", "Cotización COT-2026-000123-R2", "CANCELADA", "Página {page} de {pages}"},
    };
    sh_pdf_fonts_t *fonts;
    sh_pdf_error_t err;
    (void)state;
    assert_int_equal(sh_pdf_fonts_create(FONTS, &fonts, &err), SH_OK);
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        char code[2048];
        sh_arena_t arena;
        sh_pdf_doc_t doc;
        sh_buf_t out = {0};
        sh_pdf_stats_t stats;
        const sh_pdf_opts_t opts = {.fonts = fonts};
        sh_arena_init(&arena);
        snprintf(code, sizeof code, format, table[i].number, table[i].status, table[i].language);
        if (read_code(code, &arena, &doc, &err)) fail_msg("%s", err.message);
        assert_string_equal(doc.title.ptr, table[i].title);
        assert_string_equal(doc.watermark.ptr ? doc.watermark.ptr : "", table[i].watermark);
        assert_string_equal(doc.page_label.ptr, table[i].page);
        const sh_pdf_block_t *lines = &doc.blocks[3];
        assert_int_equal(lines->kind, SH_PDF_TABLE);
        assert_int_equal(lines->as.table.column_count, 6); /* the discount column appears with a discount */
        assert_string_equal(lines->as.table.cells[3].ptr, "1,500.00");
        assert_string_equal(lines->as.table.cells[4].ptr, "7.5 %");
        if (sh_pdf_render(&doc, &opts, &out, &stats, &err)) fail_msg("%s", err.message);
        assert_int_equal(stats.pages, 1);
        assert_int_equal(stats.missing_glyphs, 0);
        sh_buf_dispose(&out);
        sh_arena_dispose(&arena);
    }
    sh_pdf_fonts_destroy(fonts);
}

/* ---- in a vm */

typedef struct outcome {
    int calls, status;
    char text[300]; /* the first bytes, or the error */
} outcome_t;

typedef struct house {
    uv_loop_t loop;
    sh_log_t log;
    sh_lua_pdf_opts_t pdf;
    sh_bundle_t *bundle;
    sh_vm_t *vm;
    const char *code; /* what the next task runs */
} house_t;

static const char *render_of = "local pdf = require 'shama.pdf' return function(d) return pdf.render(d) end";

static void build(house_t *h, uint32_t running_max, uint64_t memory) {
    static const sh_bundle_source_t sources[] = {
        {"lua/", SHAMA_SOURCE_DIR "/runtime/lua", ".lua", {NULL, 0}},
    };
    sh_buf_t error = {0};
    uv_loop_init(&h->loop);
    h->pdf = (sh_lua_pdf_opts_t){
        .loop = &h->loop, .font_dir = FONTS, .brand_primary = "#f0c800", .brand_secondary = "#2E2725", .running_max = running_max};
    assert_int_equal(sh_log_open(&h->log, NULL, SH_LOG_OFF, "test"), SH_OK);
    if (sh_bundle_build(sources, 1, &h->bundle, &error)) fail_msg("%s", sh_buf_c(&error));
    const sh_primitive_t primitives[] = {{"pdf", sh_lua_pdf_open, &h->pdf, false}};
    const sh_vm_opts_t vm_opts = {.bundle = h->bundle,
                                  .primitives = primitives,
                                  .primitive_count = 1,
                                  .loop = &h->loop,
                                  .log = &h->log,
                                  .trusted = true,
                                  .budget = {.slice_ms = 1000, .task_ms = 1000, .memory_bytes = memory, .deadline_ms = 10000}};
    if (sh_vm_create(&vm_opts, &h->vm, &error)) fail_msg("%s", sh_buf_c(&error));
    sh_buf_dispose(&error);
}

static void tear_down(house_t *h) {
    sh_vm_destroy(h->vm);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->pdf.running, 0);
    sh_lua_pdf_dispose(&h->pdf);
    sh_bundle_release(h->bundle);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    sh_log_close(&h->log);
}

static int push_code(lua_State *L, void *data) {
    house_t *h = *(house_t **)data;
    if (luaL_loadstring(L, render_of)) lua_error(L);
    lua_newtable(L); /* what a rule's module sees of `require` */
    sh_vm_push_function(L, "require");
    lua_setfield(L, -2, "require");
    lua_setfenv(L, -2);
    lua_call(L, 0, 1);
    if (luaL_loadbuffer(L, h->code, strlen(h->code), "@rule.lua")) lua_error(L);
    lua_insert(L, -2);
    return 1;
}

typedef struct run {
    house_t *h; /* first: push_code finds it */
    outcome_t outcome;
} run_t;

static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    run_t *r = data;
    (void)task;
    r->outcome.calls++;
    r->outcome.status = status;
    if (status != SH_OK && status != SH_ELUA) return;
    assert_true(nresults >= 1);
    if (lua_istable(L, -nresults))
        lua_getfield(L, -nresults, "kind");
    else
        lua_pushvalue(L, -nresults);
    snprintf(r->outcome.text, sizeof r->outcome.text, "%s", lua_tostring(L, -1));
}

static sh_task_t *begin(house_t *h, run_t *r, const char *code) {
    const sh_task_opts_t opts = {.kind = SH_TASK_SPEC, .name = "spec"};
    *r = (run_t){.h = h};
    h->code = code;
    return sh_task_start(h->vm, &opts, push_code, on_done, r);
}

#define ONE_LINE "local render = ... return render({ created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = 'ñ' } } })"

static void tasks(void **state) {
    house_t *h = sh_calloc(1, sizeof *h);
    run_t a, b, c, d;
    (void)state;
    build(h, 2, 64 << 20);
    assert_non_null(begin(h, &a, ONE_LINE));
    sh_task_t *gone = begin(h, &b, ONE_LINE);
    assert_non_null(gone);
    assert_null(begin(h, &c, ONE_LINE)); /* the third at once is refused */
    assert_int_equal(c.outcome.status, SH_ELUA);
    assert_string_equal(c.outcome.text, "limit");
    assert_int_equal(a.outcome.calls, 0);
    sh_task_cancel(gone, SH_ECANCELED);
    assert_int_equal(b.outcome.calls, 1);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(a.outcome.calls, 1);
    assert_int_equal(a.outcome.status, SH_OK);
    assert_memory_equal(a.outcome.text, "%PDF-", 5);
    assert_int_equal(b.outcome.calls, 1); /* the cancelled one hears nothing more */

    assert_null(begin(h, &d, "local render = ...\nlocal bytes = render({ created_at = 'x', blocks = {} })\nreturn bytes"));
    assert_int_equal(d.outcome.status, SH_ELUA);
    assert_non_null(strstr(d.outcome.text, "created_at: a time like"));

    assert_non_null(begin(h, &d,
                          "local render = ... return pcall(render, { created_at = '2026-11-24T09:00:00Z',"
                          "blocks = { { kind = 'table', columns = { { width = 4000 } }, rows = {} } } })"));
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(d.outcome.status, SH_OK);
    assert_string_equal(d.outcome.text, "(null)"); /* pcall's false: the layout refused, the task lives */

    char other[] = FONTS "/"; /* a reload names another folder while a document is being rendered, then one without fonts */
    assert_non_null(begin(h, &a, ONE_LINE));
    h->pdf.font_dir = other;
    assert_non_null(begin(h, &b, ONE_LINE));
    h->pdf.running_max = 3;
    h->pdf.font_dir = "/nonexistent";
    assert_null(begin(h, &c, ONE_LINE));
    assert_int_equal(c.outcome.status, SH_ELUA);
    assert_string_equal(c.outcome.text, "other");
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_memory_equal(a.outcome.text, "%PDF-", 5);
    assert_memory_equal(b.outcome.text, "%PDF-", 5);
    tear_down(h);
    free(h);
}

/* The bytes do not fit what is left of the vm's memory: that task ends, told or not, and the next one is served. */
static void no_memory_for_the_bytes(void **state) {
    house_t *h = sh_calloc(1, sizeof *h);
    run_t a, b;
    (void)state;
    build(h, 2, 2 << 20);
    assert_non_null(
        begin(h, &a,
              "local render = ... local keep = {}\n"
              "for i = 1, 95 do keep[i] = ('x'):rep(10000) .. i end\n"
              "local bytes = {}\n"
              "for i = 1, 20 do bytes[i] = render { created_at = '2026-11-24T09:00:00Z', blocks = { { kind = 'text', text = 'ñ' .. i } } } end\n"
              "return 'never' .. #keep"));
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(a.outcome.calls, 1);
    if (a.outcome.status != SH_EMEMORY) fail_msg("%d %s", a.outcome.status, a.outcome.text);
    assert_non_null(begin(h, &b, ONE_LINE));
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_memory_equal(b.outcome.text, "%PDF-", 5);
    tear_down(h);
    free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes), cmocka_unit_test(colors_follow_the_brand), cmocka_unit_test(quotation_template),
        cmocka_unit_test(tasks),    cmocka_unit_test(no_memory_for_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
