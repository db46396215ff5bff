/* What the parts of the PDF engine share: fonts (pdf_fonts.c), paper (pdf_paper.c), layout (pdf_layout.c), and the life of a render (pdf.c). */
#ifndef SH_PDF_INTERNAL_H
#define SH_PDF_INTERNAL_H

#include "base/arena.h"
#include "base/list.h"
#include "codec/pdf.h"

#include <hpdf.h>

typedef enum sh_pdf_face { SH_PDF_REGULAR, SH_PDF_BOLD, SH_PDF_FACES } sh_pdf_face_t;

/* ---- fonts: text becomes lines of known width */

typedef struct sh_pdf_line {
    const char *text; /* NUL-terminated UTF-8 that the face can show entirely */
    float width;
} sh_pdf_line_t;

typedef struct sh_pdf_lines {
    const sh_pdf_line_t *at;
    size_t count; /* at least one, which may be empty */
} sh_pdf_lines_t;

const char *sh_pdf_fonts_path(const sh_pdf_fonts_t *fonts, sh_pdf_face_t face);
/* Breaks at spaces and after hyphens, within a word only where the word is wider than `width`. The lines live in `arena`. Missing
 * glyphs are counted in `stats`, when given. */
sh_pdf_lines_t sh_pdf_fonts_wrap(const sh_pdf_fonts_t *fonts, sh_pdf_face_t face, sh_str_t text, float size, float width, sh_arena_t *arena,
                                 sh_pdf_stats_t *stats);
/* UTF-16BE with its mark, as PDF wants text outside of pages. In `arena`. */
sh_str_t sh_pdf_utf16(sh_str_t text, sh_arena_t *arena);

/* ---- paper: pages and marks on them; y grows downwards from the upper edge */

typedef struct sh_pdf_account {
    sh_list_t blocks; /* all that are not freed yet */
    size_t used, peak, max;
    bool is_over;
} sh_pdf_account_t;

typedef struct sh_pdf_paper {
    const sh_pdf_doc_t *doc;
    const sh_pdf_fonts_t *fonts;
    sh_pdf_error_t *err;
    sh_pdf_account_t account;
    HPDF_Doc haru;
    HPDF_STATUS failed; /* the first refusal; what follows it is noise */
    HPDF_Font faces[SH_PDF_FACES];
    HPDF_ExtGState faint;
    HPDF_Dict to_unicode;
    HPDF_Page pages[SH_PDF_PAGES_MAX], page;
    uint32_t page_count, pages_max;
    uint64_t cpu_end_ns;
    /* what the current page was told last, so that it is not told again */
    HPDF_Font face;
    float size;
    sh_pdf_color_t fill;
} sh_pdf_paper_t;

int sh_pdf_fail(sh_pdf_error_t *err, int code, const char *fmt, ...) SH_PRINTF(3, 4);

/* Opens libharu on this thread; every call until dispose must come from the same one. */
int sh_pdf_paper_init(sh_pdf_paper_t *paper) SH_MUSTCHECK;
void sh_pdf_paper_dispose(sh_pdf_paper_t *paper);
/* 0, or the first refusal of libharu with a sentence in paper->err. */
int sh_pdf_paper_check(sh_pdf_paper_t *paper) SH_MUSTCHECK;
int sh_pdf_paper_add_page(sh_pdf_paper_t *paper) SH_MUSTCHECK;
void sh_pdf_paper_turn_to(sh_pdf_paper_t *paper, uint32_t index);
void sh_pdf_paper_text(sh_pdf_paper_t *paper, sh_pdf_face_t face, float size, sh_pdf_color_t color, float x, float baseline, const char *text);
void sh_pdf_paper_rect(sh_pdf_paper_t *paper, sh_pdf_color_t color, float x, float y, float w, float h);
/* Bold text across the middle of the page, rising from left to right, so faint that what lies below can be read. */
void sh_pdf_paper_watermark(sh_pdf_paper_t *paper, sh_pdf_color_t color, const char *text, float width, float size);
int sh_pdf_paper_save(sh_pdf_paper_t *paper, size_t bytes_max, sh_buf_t *out) SH_MUSTCHECK;

/* ---- layout */

int sh_pdf_layout_run(sh_pdf_paper_t *paper, uint32_t rows_max, sh_pdf_stats_t *stats) SH_MUSTCHECK;

#endif
