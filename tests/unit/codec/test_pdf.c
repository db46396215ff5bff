/* Proves that documents come out as valid PDFs whose text can be read back, whatever their length, always with the same bytes, and that
 * limits stop what grows too far. The judges are other programs: qpdf for the structure, pdftotext, pdfinfo and pdffonts for what is inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"
#include "codec/pdf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FONTS "/usr/share/fonts/truetype/dejavu"

typedef struct fixture {
    sh_pdf_fonts_t *fonts;
    char folder[64], file[80];
} fixture_t;

static int make(void **state) {
    fixture_t *f = sh_calloc(1, sizeof *f);
    sh_pdf_error_t err;
    if (sh_pdf_fonts_create(FONTS, &f->fonts, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    strcpy(f->folder, "/tmp/test_pdf.XXXXXX");
    if (!mkdtemp(f->folder)) return -1;
    snprintf(f->file, sizeof f->file, "%s/out.pdf", f->folder);
    *state = f;
    return 0;
}

static int drop(void **state) {
    fixture_t *f = *state;
    unlink(f->file);
    rmdir(f->folder);
    sh_pdf_fonts_destroy(f->fonts);
    free(f);
    return 0;
}

static const sh_pdf_column_t columns[] = {
    {.title = {"N.º", 4}, .width = 34, .align = SH_PDF_RIGHT},
    {.title = {"Descripción", 12}},
    {.title = {"Cantidad", 8}, .width = 60, .align = SH_PDF_RIGHT},
    {.title = {"Importe", 7}, .width = 80, .align = SH_PDF_RIGHT},
};
enum { COLUMNS = 4 };

/* A quotation with `rows` lines; what it points to lives in the arena. */
static sh_pdf_doc_t make_doc(sh_arena_t *a, size_t rows) {
    sh_str_t *cells = sh_arena_calloc(a, (rows * COLUMNS + 1) * sizeof *cells);
    for (size_t i = 0; i < rows; i++) {
        cells[i * COLUMNS] = sh_str_of(sh_arena_printf(a, "%zu", i + 1));
        cells[i * COLUMNS + 1] = sh_str_of(sh_arena_printf(
            a, "Artículo línea-%zu%s", i + 1, i % 7 == 3 ? " con una descripción larga que ocupa más de un renglón en la tabla de líneas" : ""));
        cells[i * COLUMNS + 2] = SH_STR("12");
        cells[i * COLUMNS + 3] = sh_str_of(sh_arena_printf(a, "%zu.50", 100 + i));
    }
    static const sh_pdf_pair_t sums[] = {{{"Subtotal", 8}, {"100.00", 6}, false}, {{"Total", 5}, {"USD 116.00", 10}, true}};
    sh_pdf_block_t *blocks = sh_arena_calloc(a, 4 * sizeof *blocks);
    blocks[0] =
        (sh_pdf_block_t){.kind = SH_PDF_TEXT,
                         .as.text = {.text = SH_STR("¿Cotización? áéíóú ÁÉÍÓÚ ñÑ üÜ"), .style = {.size = 16, .bold = true}, .keep_with_next = true}};
    blocks[1] = (sh_pdf_block_t){.kind = SH_PDF_TABLE,
                                 .space_before = 10,
                                 .as.table = {.columns = columns,
                                              .column_count = COLUMNS,
                                              .cells = cells,
                                              .row_count = rows,
                                              .head_background = {0x2e, 0x27, 0x25, true},
                                              .head_color = {255, 255, 255, true},
                                              .stripe = {245, 245, 245, true}}};
    blocks[2] =
        (sh_pdf_block_t){.kind = SH_PDF_TOTALS, .space_before = 8, .as.pairs = {.rows = sums, .row_count = 2, .background = {0xf0, 0xc8, 0, true}}};
    blocks[3] = (sh_pdf_block_t){.kind = SH_PDF_TEXT, .as.text.text = SH_STR("Fin del documento")};
    return (sh_pdf_doc_t){
        .width = 595.28f,
        .height = 841.89f,
        .margin_top = 48,
        .margin_right = 48,
        .margin_bottom = 54,
        .margin_left = 48,
        .size = 9,
        .title = SH_STR("Cotización ñ €"),
        .author = SH_STR("Compañía"),
        .language = SH_STR("es"),
        .created_us = INT64_C(1763971200000000),
        .color = {0x22, 0x22, 0x22, true},
        .muted = {0x66, 0x66, 0x66, true},
        .line = {0xdd, 0xdd, 0xdd, true},
        .blocks = blocks,
        .block_count = 4,
        .footer = SH_STR("Compañía"),
        .page_label = SH_STR("Página {page} de {pages}"),
        .running_left = SH_STR("COT-2026-000123"),
    };
}

/* Appends what the command prints, %s in it being the file; fails the test unless it exits with 0. */
static void ask(const fixture_t *f, const char *format, sh_buf_t *out) {
    char command[256], part[4096];
    size_t n;
    snprintf(command, sizeof command, format, f->file);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    while ((n = fread(part, 1, sizeof part, p)) > 0) sh_buf_put(out, part, n);
    assert_int_equal(pclose(p), 0);
    sh_buf_c(out);
}

static void render_to_file(const fixture_t *f, const sh_pdf_doc_t *doc, sh_buf_t *bytes, sh_pdf_stats_t *stats) {
    const sh_pdf_opts_t opts = {.fonts = f->fonts};
    sh_pdf_error_t err = {0};
    int rc = sh_pdf_render(doc, &opts, bytes, stats, &err);
    if (rc) fail_msg("%s", err.message);
    FILE *file = fopen(f->file, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->ptr, 1, bytes->len, file), bytes->len);
    fclose(file);
}

static void lengths(void **state) {
    static const struct {
        size_t rows;
        uint32_t pages_min, pages_max;
    } table[] = {{1, 1, 1}, {30, 1, 2}, {3000, 60, 140}};
    const fixture_t *f = *state;
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        sh_arena_t a;
        sh_buf_t first = {0}, second = {0}, text = {0}, said = {0};
        sh_pdf_stats_t stats;
        char want[64];
        sh_arena_init(&a);
        sh_pdf_doc_t doc = make_doc(&a, table[i].rows);
        render_to_file(f, &doc, &second, NULL);
        uint64_t cpu = sh_time_thread_cpu_ns();
        render_to_file(f, &doc, &first, &stats);
        cpu = sh_time_thread_cpu_ns() - cpu;
        print_message("%zu rows: %u pages, %zu bytes, %.1f ms CPU, %zu kB at most in libharu\n", table[i].rows, stats.pages, first.len,
                      (double)cpu / 1e6, stats.memory_peak / 1024);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.ptr, second.ptr, first.len);
        assert_memory_equal(first.ptr, "%PDF-1.", 7);
        assert_in_range(stats.pages, table[i].pages_min, table[i].pages_max);
        assert_int_equal(stats.missing_glyphs, 0);

        ask(f, "qpdf --check %s", &said);
        assert_non_null(strstr(said.ptr, "No syntax or stream encoding errors"));
        ask(f, "pdftotext -layout %s -", &text);
        assert_non_null(strstr(text.ptr, "¿Cotización? áéíóú ÁÉÍÓÚ ñÑ üÜ"));
        assert_non_null(strstr(text.ptr, "Fin del documento"));
        for (size_t row = 1; row <= table[i].rows; row += table[i].rows > 100 ? 97 : 1) {
            snprintf(want, sizeof want, "línea-%zu", row);
            assert_non_null(strstr(text.ptr, want));
        }
        size_t heads = 0;
        for (const char *p = text.ptr; (p = strstr(p, "Descripción")); p++) heads++;
        snprintf(want, sizeof want, "Página %u de %u", stats.pages, stats.pages);
        assert_non_null(strstr(text.ptr, want));
        assert_in_range(heads, stats.pages > 1 ? stats.pages - 1 : 1, stats.pages); /* the last page may hold the totals only */
        sh_buf_dispose(&first);
        sh_buf_dispose(&second);
        sh_buf_dispose(&text);
        sh_buf_dispose(&said);
        sh_arena_dispose(&a);
    }
}

static void metadata_and_fonts(void **state) {
    const fixture_t *f = *state;
    sh_arena_t a;
    sh_buf_t bytes = {0}, info = {0}, fonts = {0};
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 2);
    doc.watermark = SH_STR("BORRADOR");
    render_to_file(f, &doc, &bytes, NULL);
    ask(f, "TZ=UTC pdfinfo -isodates %s", &info);
    assert_non_null(strstr(info.ptr, "Cotización ñ €"));
    assert_non_null(strstr(info.ptr, "Compañía"));
    assert_non_null(strstr(info.ptr, "2025-11-24T08:00:00Z"));
    ask(f, "qpdf --qdf %s - | grep -a /Lang", &info);
    assert_non_null(strstr(info.ptr, "/Lang (es)"));
    ask(f, "pdffonts %s | awk 'NR>2 && $(NF-4)==\"yes\" && $(NF-2)==\"yes\"' | wc -l", &fonts); /* embedded, with a map back to text */
    assert_int_equal(atoi(fonts.ptr), 2);
    sh_buf_clear(&info);
    ask(f, "pdftotext -raw %s - | tr -d '\\n'", &info); /* a slanted text comes out letter by letter */
    assert_non_null(strstr(info.ptr, "BORRADOR"));
    sh_buf_dispose(&bytes);
    sh_buf_dispose(&info);
    sh_buf_dispose(&fonts);
    sh_arena_dispose(&a);
}

/* One paragraph in, its text out. */
static void paragraph(const fixture_t *f, const char *text, size_t len, sh_buf_t *out, sh_pdf_stats_t *stats) {
    sh_arena_t a;
    sh_buf_t bytes = {0};
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 0);
    const sh_pdf_block_t block = {.kind = SH_PDF_TEXT, .as.text.text = sh_str(text, len)};
    doc.blocks = &block;
    doc.block_count = 1;
    render_to_file(f, &doc, &bytes, stats);
    ask(f, "pdftotext -raw %s -", out);
    sh_buf_dispose(&bytes);
    sh_arena_dispose(&a);
}

static void characters(void **state) {
    static const struct {
        const char *in, *out;
        uint32_t missing, first;
    } table[] = {
        {"Łódź, Ελλάδα, Москва €", "Łódź, Ελλάδα, Москва €", 0, 0},
        {"emoji \xf0\x9f\x98\x80 end", "emoji □ end", 1, 0x1f600},
        {"kanji 漢字 end", "kanji □□ end", 2, 0x6f22},
        {"bad \xff\xc3 utf-8", "bad □□ utf-8", 2, 0xfffd},
        {"over\xc0\xaflong", "over□□long", 2, 0xfffd},
        {"cafe\xcc\x81 an\xcc\x83o", "café año", 0, 0},
        {"tab\there\x01", "tab here", 0, 0},
        {"a\\b (c) <d>", "a\\b (c) <d>", 0, 0},
        {"one\ntwo", "one\ntwo", 0, 0},
    };
    const fixture_t *f = *state;
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        sh_buf_t out = {0};
        sh_pdf_stats_t stats;
        paragraph(f, table[i].in, strlen(table[i].in), &out, &stats);
        if (!strstr(out.ptr, table[i].out)) fail_msg("%s became %s", table[i].in, out.ptr);
        assert_int_equal(stats.missing_glyphs, table[i].missing);
        assert_int_equal(stats.missing_first, table[i].first);
        sh_buf_dispose(&out);
    }
}

static void long_words_and_rows_break(void **state) {
    const fixture_t *f = *state;
    sh_buf_t out = {0};
    sh_pdf_stats_t stats;
    char word[20000];
    memset(word, 'x', sizeof word);
    paragraph(f, word, sizeof word, &out, &stats);
    size_t count = 0;
    for (size_t i = 0; i < out.len; i++) count += out.ptr[i] == 'x';
    assert_int_equal(count, sizeof word); /* nothing is lost, wherever it was broken */
    assert_true(stats.pages >= 2);
    sh_buf_dispose(&out);

    sh_arena_t a; /* a row taller than a page is torn between lines */
    sh_buf_t bytes = {0};
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 2);
    ((sh_str_t *)doc.blocks[1].as.table.cells)[1] = sh_str(word, sizeof word);
    render_to_file(f, &doc, &bytes, &stats);
    ask(f, "pdftotext -raw %s -", &out);
    count = 0;
    for (size_t i = 0; i < out.len; i++) count += out.ptr[i] == 'x';
    assert_true(count >= sizeof word);
    assert_true(stats.pages >= 3);
    sh_buf_dispose(&out);
    sh_buf_dispose(&bytes);
    sh_arena_dispose(&a);
}

static void limits(void **state) {
    const fixture_t *f = *state;
    const struct {
        sh_pdf_opts_t opts;
        const char *says;
    } table[] = {
        {{.fonts = f->fonts, .pages_max = 3}, "more than 3 pages"},
        {{.fonts = f->fonts, .rows_max = 999}, "too many table rows"},
        {{.fonts = f->fonts, .bytes_max = 10000}, "10000 are allowed"},
        {{.fonts = f->fonts, .memory_max = 1 << 20}, "memory"},
    };
    sh_arena_t a;
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 1000);
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        sh_buf_t out = {0};
        sh_pdf_error_t err = {0};
        sh_buf_put_lit(&out, "kept");
        assert_int_equal(sh_pdf_render(&doc, &table[i].opts, &out, NULL, &err), SH_ELIMIT);
        if (!strstr(err.message, table[i].says)) fail_msg("%s", err.message);
        assert_true(sh_str_eq_c(sh_buf_str(&out), "kept"));
        sh_buf_dispose(&out);
    }
    sh_arena_dispose(&a);
}

/* Memory runs out at every size in turn: an error each time, no crash, and nothing left (AddressSanitizer looks). */
static void memory_runs_out_anywhere(void **state) {
    const fixture_t *f = *state;
    sh_arena_t a;
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 60);
    sh_pdf_stats_t stats;
    sh_buf_t out = {0};
    sh_pdf_error_t err = {0};
    sh_pdf_opts_t opts = {.fonts = f->fonts};
    assert_int_equal(sh_pdf_render(&doc, &opts, &out, &stats, &err), SH_OK);
    sh_buf_clear(&out);
    for (size_t max = 100; max < stats.memory_peak; max += 100 + max / 12) {
        opts.memory_max = max;
        assert_int_equal(sh_pdf_render(&doc, &opts, &out, NULL, &err), SH_ELIMIT);
        assert_int_equal(out.len, 0);
    }
    sh_buf_dispose(&out);
    sh_arena_dispose(&a);
}

static void wrong_descriptions(void **state) {
    const fixture_t *f = *state;
    const sh_pdf_opts_t opts = {.fonts = f->fonts};
    const sh_pdf_column_t wide[] = {{.width = 400}, {.width = 400}};
    const sh_str_t cells[] = {SH_STR_NULL, SH_STR_NULL};
    const sh_pdf_block_t tall = {.kind = SH_PDF_SPACER, .as.spacer.height = 900};
    const sh_pdf_stack_t stack = {.blocks = &tall, .block_count = 1};
    const sh_pdf_block_t bad[] = {
        {.kind = SH_PDF_TABLE, .as.table = {.columns = wide, .column_count = 2, .cells = cells, .row_count = 1}},
        {.kind = SH_PDF_TABLE},
        {.kind = SH_PDF_COLUMNS, .as.columns = {.stacks = &stack, .stack_count = 1}},
        {.kind = (sh_pdf_block_kind_t)99},
    };
    sh_arena_t a;
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 1);
    sh_buf_t out = {0};
    sh_pdf_error_t err;
    doc.block_count = 1;
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) {
        doc.blocks = &bad[i];
        assert_int_equal(sh_pdf_render(&doc, &opts, &out, NULL, &err), SH_EINVAL);
    }
    doc.margin_left = 500;
    assert_int_equal(sh_pdf_render(&doc, &opts, &out, NULL, &err), SH_EINVAL);
    assert_int_equal(out.len, 0);
    sh_buf_dispose(&out);
    sh_arena_dispose(&a);
    sh_pdf_fonts_t *none;
    assert_int_equal(sh_pdf_fonts_create("/nonexistent", &none, &err), SH_EIO);
    assert_non_null(strstr(err.message, "/nonexistent/DejaVuSans.ttf"));
}

typedef struct worker {
    pthread_t thread;
    const fixture_t *f;
    const sh_pdf_doc_t *doc;
    sh_buf_t out;
    int rc;
} worker_t;

static void *render_alone(void *data) {
    worker_t *w = data;
    const sh_pdf_opts_t opts = {.fonts = w->f->fonts};
    sh_pdf_error_t err;
    for (int i = 0; i < 3 && w->rc == SH_OK; i++) {
        sh_buf_clear(&w->out);
        w->rc = sh_pdf_render(w->doc, &opts, &w->out, NULL, &err);
    }
    return NULL;
}

/* Threads that share the fonts and the description do not disturb each other. */
static void threads(void **state) {
    worker_t workers[3] = {0};
    sh_arena_t a;
    sh_arena_init(&a);
    sh_pdf_doc_t doc = make_doc(&a, 100);
    for (size_t i = 0; i < SH_ARRAY_LEN(workers); i++) {
        workers[i].f = *state;
        workers[i].doc = &doc;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, render_alone, &workers[i]), 0);
    }
    for (size_t i = 0; i < SH_ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].rc, SH_OK);
        assert_int_equal(workers[i].out.len, workers[0].out.len);
        assert_memory_equal(workers[i].out.ptr, workers[0].out.ptr, workers[0].out.len);
    }
    for (size_t i = 0; i < SH_ARRAY_LEN(workers); i++) sh_buf_dispose(&workers[i].out);
    sh_arena_dispose(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),
        cmocka_unit_test(metadata_and_fonts),
        cmocka_unit_test(characters),
        cmocka_unit_test(long_words_and_rows_break),
        cmocka_unit_test(limits),
        cmocka_unit_test(memory_runs_out_anywhere),
        cmocka_unit_test(wrong_descriptions),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
