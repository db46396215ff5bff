/* The life of a render: checks, metadata, layout, save. */
#include "codec/pdf.h"

#include "base/err.h"
#include "base/time.h"
#include "codec/pdf_internal.h"

#include <hpdf_doc.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { PAPER_MIN = 72, PAPER_MAX = 5000, TITLE_BYTES_MAX = 512 };

static int check(const sh_pdf_doc_t *doc, sh_pdf_error_t *err) {
    if (!(doc->width >= PAPER_MIN && doc->width <= PAPER_MAX && doc->height >= PAPER_MIN && doc->height <= PAPER_MAX))
        return sh_pdf_fail(err, SH_EINVAL, "the paper must measure %d to %d points", PAPER_MIN, PAPER_MAX);
    if (!(doc->margin_top >= 0 && doc->margin_right >= 0 && doc->margin_bottom >= 0 && doc->margin_left >= 0))
        return sh_pdf_fail(err, SH_EINVAL, "a margin is negative");
    if (doc->width - doc->margin_left - doc->margin_right < PAPER_MIN / 2.0f || doc->height - doc->margin_top - doc->margin_bottom < PAPER_MIN / 2.0f)
        return sh_pdf_fail(err, SH_EINVAL, "the margins leave no room for text");
    if (!(doc->size >= 4 && doc->size <= 72)) return sh_pdf_fail(err, SH_EINVAL, "the text size must be 4 to 72 points");
    if (doc->title.len > TITLE_BYTES_MAX || doc->author.len > TITLE_BYTES_MAX || doc->subject.len > TITLE_BYTES_MAX)
        return sh_pdf_fail(err, SH_EINVAL, "title, author and subject have at most %d bytes each", TITLE_BYTES_MAX);
    return SH_OK;
}

static void set_info(sh_pdf_paper_t *paper, const char *key, sh_str_t text, sh_arena_t *arena) {
    if (!text.len || paper->failed) return;
    sh_str_t utf16 = sh_pdf_utf16(text, arena);
    HPDF_Binary value = HPDF_Binary_New(paper->haru->mmgr, (HPDF_BYTE *)utf16.ptr, (HPDF_UINT)utf16.len);
    if (value) HPDF_Dict_Add(paper->haru->info, key, value);
}

/* libharu writes only what it is told: no clock, no random identifier. */
static int set_metadata(sh_pdf_paper_t *paper, sh_arena_t *arena) {
    const sh_pdf_doc_t *doc = paper->doc;
    time_t seconds = (time_t)(doc->created_us / 1000000);
    struct tm t;
    if (!gmtime_r(&seconds, &t) || t.tm_year < 0 || t.tm_year > 8099) return sh_pdf_fail(paper->err, SH_EINVAL, "created_at is out of range");
    HPDF_Date date = {
        .year = t.tm_year + 1900, .month = t.tm_mon + 1, .day = t.tm_mday, .hour = t.tm_hour, .minutes = t.tm_min, .seconds = t.tm_sec, .ind = 'Z'};
    HPDF_SetInfoDateAttr(paper->haru, HPDF_INFO_CREATION_DATE, date);
    HPDF_SetInfoDateAttr(paper->haru, HPDF_INFO_MOD_DATE, date);
    int rc = sh_pdf_paper_check(paper);
    if (rc) return rc;
    set_info(paper, "Title", doc->title, arena);
    set_info(paper, "Author", doc->author, arena);
    set_info(paper, "Subject", doc->subject, arena);
    set_info(paper, "Creator", SH_STR("Shama"), arena);
    if (doc->language.len && !paper->failed) {
        HPDF_String language = HPDF_String_New(paper->haru->mmgr, sh_arena_str(arena, doc->language).ptr, NULL);
        if (language) HPDF_Dict_Add(paper->haru->catalog, "Lang", language);
    }
    return sh_pdf_paper_check(paper);
}

int sh_pdf_render(const sh_pdf_doc_t *doc, const sh_pdf_opts_t *opts, sh_buf_t *out, sh_pdf_stats_t *stats, sh_pdf_error_t *err) {
    sh_pdf_stats_t own;
    int rc = check(doc, err);
    if (rc) return rc;
    if (!stats) stats = &own;
    *stats = (sh_pdf_stats_t){0};
    sh_arena_t arena;
    sh_arena_init(&arena);
    sh_pdf_paper_t *paper = sh_calloc(1, sizeof *paper);
    paper->doc = doc;
    paper->fonts = opts->fonts;
    paper->err = err;
    paper->account.max = opts->memory_max ? opts->memory_max : SH_PDF_MEMORY_MAX;
    paper->pages_max = opts->pages_max && opts->pages_max < SH_PDF_PAGES_MAX ? opts->pages_max : SH_PDF_PAGES_MAX;
    paper->cpu_end_ns = sh_time_thread_cpu_ns() + (opts->cpu_ms_max ? opts->cpu_ms_max : SH_PDF_CPU_MS_MAX) * UINT64_C(1000000);
    rc = sh_pdf_paper_init(paper);
    if (rc) goto fail_paper;
    rc = set_metadata(paper, &arena);
    if (rc == SH_OK) rc = sh_pdf_layout_run(paper, opts->rows_max ? opts->rows_max : SH_PDF_ROWS_MAX, stats);
    if (rc == SH_OK) rc = sh_pdf_paper_save(paper, opts->bytes_max ? opts->bytes_max : SH_PDF_BYTES_MAX, out);
    stats->pages = paper->page_count;
    stats->memory_peak = paper->account.peak;
    sh_pdf_paper_dispose(paper);
fail_paper:
    sh_arena_dispose(&arena);
    free(paper);
    return rc;
}
