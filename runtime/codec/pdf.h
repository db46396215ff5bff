/* From a document description, a plain tree of blocks, to the bytes of a PDF.
 *
 * The description says what is on the paper (headings, paragraphs, columns, tables, totals), the engine says where: it measures,
 * wraps, breaks pages, repeats table heads, and numbers the pages at the end. Everything that could differ between two runs comes with
 * the description, so the same description gives the same bytes. Fonts are embedded; a character that the font lacks is shown
 * as a box and counted, never dropped.
 *
 * All sizes are points (1/72 inch). Texts are UTF-8; '\n' breaks a line, other control characters are spaces. Bytes that are not UTF-8
 * are shown like missing glyphs. Nothing here is copied: what the description points to must live until the render returns. */
#ifndef SH_PDF_H
#define SH_PDF_H

#include "base/buf.h"

enum {
    SH_PDF_PAGES_MAX = 200,
    SH_PDF_ROWS_MAX = 20000, /* table rows of a document */
    SH_PDF_COLUMNS_MAX = 16, /* of a table */
    SH_PDF_NESTING_MAX = 4,  /* columns within columns */
    SH_PDF_CPU_MS_MAX = 5000,
    SH_PDF_BYTES_MAX = 16 << 20,  /* of the result */
    SH_PDF_MEMORY_MAX = 96 << 20, /* what libharu holds while it works */
};

typedef struct sh_pdf_color {
    uint8_t r, g, b;
    bool is_set; /* unset: nothing is painted, or the text's own colour is kept */
} sh_pdf_color_t;

typedef enum sh_pdf_align { SH_PDF_LEFT, SH_PDF_CENTER, SH_PDF_RIGHT } sh_pdf_align_t;

typedef struct sh_pdf_style {
    float size; /* 0: the document's */
    bool bold;
    sh_pdf_align_t align;
    sh_pdf_color_t color; /* unset: the document's */
} sh_pdf_style_t;

/* Label and value side by side; in a totals block `strong` puts the row on the block's background. */
typedef struct sh_pdf_pair {
    sh_str_t label, value;
    bool strong;
} sh_pdf_pair_t;

typedef struct sh_pdf_column {
    sh_str_t title;
    float width;  /* 0: a share of what the fixed ones leave, by weight */
    float weight; /* 0: 1 */
    sh_pdf_align_t align;
} sh_pdf_column_t;

typedef struct sh_pdf_block sh_pdf_block_t;

/* A stack of blocks in a column of its own. */
typedef struct sh_pdf_stack {
    float width, weight; /* as in sh_pdf_column_t */
    const sh_pdf_block_t *blocks;
    size_t block_count;
} sh_pdf_stack_t;

typedef enum sh_pdf_block_kind {
    SH_PDF_TEXT,   /* a paragraph or heading */
    SH_PDF_PAIRS,  /* labels in one column, values in the next */
    SH_PDF_TOTALS, /* pairs at the right edge, values to the right, never torn apart */
    SH_PDF_TABLE,
    SH_PDF_COLUMNS, /* stacks side by side, never torn apart; with a background it is a box, with `bleed` a band across the paper */
    SH_PDF_RULE,
    SH_PDF_SPACER,
    SH_PDF_PAGE_BREAK,
} sh_pdf_block_kind_t;

struct sh_pdf_block {
    sh_pdf_block_kind_t kind;
    float space_before, space_after; /* space_before is left out at the top of a page */
    union {
        struct {
            sh_str_t text;
            sh_pdf_style_t style;
            bool keep_with_next; /* does not stay alone at the foot of a page */
        } text;
        struct {
            const sh_pdf_pair_t *rows;
            size_t row_count;
            float size, width, label_width;                /* 0: the document's, the frame's, 40 % */
            sh_pdf_color_t label_color, background, color; /* background and color: of strong rows in totals */
        } pairs;
        struct {
            const sh_pdf_column_t *columns;
            size_t column_count;
            const sh_str_t *cells; /* row_count x column_count, row by row */
            size_t row_count;
            float size;
            sh_pdf_color_t head_background, head_color, stripe, line;
        } table;
        struct {
            const sh_pdf_stack_t *stacks;
            size_t stack_count;
            float gap, padding;
            sh_pdf_color_t background;
            bool bleed; /* the background reaches the edges of the paper, at the top of the first page also its upper edge */
        } columns;
        struct {
            sh_pdf_color_t color;
            float thickness;
        } rule;
        struct {
            float height;
        } spacer;
    } as;
};

typedef struct sh_pdf_doc {
    float width, height; /* of the paper */
    float margin_top, margin_right, margin_bottom, margin_left;
    sh_str_t title, author, subject, language; /* language: "es", "en" */
    int64_t created_us;                        /* since 1970, UTC; whole seconds are kept */
    float size;                                /* of text without a size of its own */
    sh_pdf_color_t color, muted, line;         /* text, small text in header and footer, rules */
    const sh_pdf_block_t *blocks;
    size_t block_count;
    sh_str_t running_left, running_right; /* top margin from the second page on */
    sh_str_t footer;                      /* left in the bottom margin */
    sh_str_t page_label;                  /* right in it: "Page {page} of {pages}" */
    sh_str_t watermark;                   /* across every page; empty: none */
    sh_pdf_color_t watermark_color;
} sh_pdf_doc_t;

/* Which characters the two faces have and how wide they are: read once, then only read, so that threads may share it. */
typedef struct sh_pdf_fonts sh_pdf_fonts_t;

typedef struct sh_pdf_opts {
    const sh_pdf_fonts_t *fonts;
    /* 0: the maxima above */
    uint32_t pages_max, rows_max, cpu_ms_max;
    size_t bytes_max, memory_max;
} sh_pdf_opts_t;

typedef struct sh_pdf_error {
    int code;
    char message[256]; /* English, for the log and for who wrote the description */
} sh_pdf_error_t;

typedef struct sh_pdf_stats {
    uint32_t pages;
    uint32_t missing_glyphs; /* characters shown as a box */
    uint32_t missing_first;  /* code point of the first one */
    size_t memory_peak;      /* of libharu */
} sh_pdf_stats_t;

/* Reads DejaVuSans.ttf and DejaVuSans-Bold.ttf in `folder`. SH_EIO with a sentence in err. */
int sh_pdf_fonts_create(const char *folder, sh_pdf_fonts_t **out, sh_pdf_error_t *err) SH_MUSTCHECK;
void sh_pdf_fonts_destroy(sh_pdf_fonts_t *fonts);

/* Renders and appends the file to `out`, which is left as it was on failure: SH_EINVAL (a description that cannot be laid out), SH_ELIMIT
 * (named in err), SH_EIO (fonts), SH_EMEMORY. Blocks; may run on any thread, on several at once with different `out`.
 * `stats` may be NULL. */
int sh_pdf_render(const sh_pdf_doc_t *doc, const sh_pdf_opts_t *opts, sh_buf_t *out, sh_pdf_stats_t *stats, sh_pdf_error_t *err) SH_MUSTCHECK;

#endif
