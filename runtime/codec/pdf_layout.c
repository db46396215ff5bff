/* Where each block goes: one pass from top to bottom, with a measuring pass ahead only for what must stay in one piece.
 *
 * A block function moves l->y down and draws on the way. `measuring` makes it only move, `fixed` keeps it on its page; both are set for
 * the stacks of a columns block while its height is looked for, the second also while it is drawn. Lines of text live in `scratch`
 * until the next block or row. Head, foot and watermark are drawn when the number of pages is known. */
#include "codec/pdf_internal.h"

#include "base/err.h"

#include <math.h>
#include <stdio.h>

#define LINE_HEIGHT 1.32f /* of the size */
#define BASELINE 1.025f   /* from a line's upper edge: capitals stand in its middle */
#define CELL_PAD_X 5.0f
#define CELL_PAD_Y 3.4f
#define EPSILON 0.01f
#define SMALL 7.5f /* head and foot of the page */
#define TOTALS_WIDTH 230.0f
#define KEEP_LINES 3.0f /* of what follows a heading */

typedef struct layout {
    sh_pdf_paper_t *paper;
    const sh_pdf_doc_t *doc;
    sh_pdf_stats_t *stats;
    sh_arena_t *scratch;
    uint32_t *rows_left;
    float x, width, y;
    bool measuring, fixed;
    int depth;
} layout_t;

static int run_blocks(layout_t *l, const sh_pdf_block_t *blocks, size_t count);

static float bottom(const layout_t *l) { return l->doc->height - l->doc->margin_bottom; }
static bool is_at_top(const layout_t *l) { return l->y <= l->doc->margin_top + EPSILON; }
static float or_default(float value, float fallback) { return value > 0 ? value : fallback; }

static int next_page(layout_t *l) {
    if (l->fixed) return SH_OK;
    l->y = l->doc->margin_top;
    return sh_pdf_paper_add_page(l->paper);
}

/* Room for `height`, on the next page where this one has not enough. */
static int ensure(layout_t *l, float height) {
    if (l->fixed || l->y + height <= bottom(l) + EPSILON || is_at_top(l)) return SH_OK;
    return next_page(l);
}

static sh_pdf_lines_t wrap(layout_t *l, bool bold, sh_str_t text, float size, float width) {
    return sh_pdf_fonts_wrap(l->paper->fonts, bold ? SH_PDF_BOLD : SH_PDF_REGULAR, text, size, width, l->scratch, l->measuring ? NULL : l->stats);
}

static void draw_line(layout_t *l, const sh_pdf_line_t *line, const sh_pdf_style_t *style, float size, float x, float width, float y) {
    if (l->measuring) return;
    float room = width - line->width, shift = style->align == SH_PDF_RIGHT ? room : style->align == SH_PDF_CENTER ? room / 2 : 0;
    sh_pdf_paper_text(l->paper, style->bold ? SH_PDF_BOLD : SH_PDF_REGULAR, size, style->color.is_set ? style->color : l->doc->color, x + shift,
                      y + size * BASELINE, line->text);
}

static void rect(layout_t *l, sh_pdf_color_t color, float x, float y, float w, float h) {
    if (!l->measuring) sh_pdf_paper_rect(l->paper, color, x, y, w, h);
}

/* Fixed widths as they are, the rest shared by weight. */
static int share(layout_t *l, float total, float gap, size_t count, const float *fixed, const float *weights, float *widths) {
    float left = total - gap * (float)(count ? count - 1 : 0), weight_sum = 0;
    for (size_t i = 0; i < count; i++) {
        left -= fixed[i];
        if (fixed[i] <= 0) weight_sum += or_default(weights[i], 1);
    }
    for (size_t i = 0; i < count; i++) {
        widths[i] = fixed[i] > 0 ? fixed[i] : left * or_default(weights[i], 1) / weight_sum;
        if (!(widths[i] >= 4))
            return sh_pdf_fail(l->paper->err, SH_EINVAL, "column %zu has no room: the widths add up to more than %.0f points", i + 1, (double)total);
    }
    if (left < -EPSILON) return sh_pdf_fail(l->paper->err, SH_EINVAL, "the column widths add up to more than %.0f points", (double)total);
    return SH_OK;
}

/* ---- text */

static int run_text(layout_t *l, const sh_pdf_block_t *block) {
    const sh_pdf_style_t *style = &block->as.text.style;
    float size = or_default(style->size, l->doc->size), height = size * LINE_HEIGHT;
    sh_pdf_lines_t lines = wrap(l, style->bold, block->as.text.text, size, l->width);
    if (block->as.text.keep_with_next) {
        int rc = ensure(l, height * (float)lines.count + l->doc->size * LINE_HEIGHT * KEEP_LINES);
        if (rc) return rc;
    }
    for (size_t i = 0; i < lines.count; i++) {
        int rc = ensure(l, height);
        if (rc) return rc;
        draw_line(l, &lines.at[i], style, size, l->x, l->width, l->y);
        l->y += height;
    }
    return SH_OK;
}

/* ---- pairs and totals */

static int run_pairs(layout_t *l, const sh_pdf_block_t *block) {
    float size = or_default(block->as.pairs.size, l->doc->size), height = size * LINE_HEIGHT;
    float width = or_default(block->as.pairs.width, l->width), label_width = or_default(block->as.pairs.label_width, width * 0.4f);
    if (width > l->width + EPSILON || label_width >= width - 4)
        return sh_pdf_fail(l->paper->err, SH_EINVAL, "pairs: label_width leaves no room for the values");
    for (size_t i = 0; i < block->as.pairs.row_count; i++) {
        const sh_pdf_pair_t *row = &block->as.pairs.rows[i];
        const sh_pdf_style_t label_style = {.color = block->as.pairs.label_color}, value_style = {.bold = row->strong};
        sh_arena_reset(l->scratch);
        sh_pdf_lines_t labels = wrap(l, false, row->label, size, label_width - CELL_PAD_X);
        sh_pdf_lines_t values = wrap(l, row->strong, row->value, size, width - label_width);
        size_t count = labels.count > values.count ? labels.count : values.count;
        for (size_t k = 0; k < count; k++) {
            int rc = ensure(l, height);
            if (rc) return rc;
            if (k < labels.count) draw_line(l, &labels.at[k], &label_style, size, l->x, label_width, l->y);
            if (k < values.count) draw_line(l, &values.at[k], &value_style, size, l->x + label_width, width - label_width, l->y);
            l->y += height;
        }
        l->y += size * 0.15f;
    }
    return SH_OK;
}

static int run_totals(layout_t *l, const sh_pdf_block_t *block) {
    float size = or_default(block->as.pairs.size, l->doc->size), width = or_default(block->as.pairs.width, TOTALS_WIDTH);
    if (width > l->width) width = l->width;
    float row_height = size * LINE_HEIGHT + 2 * CELL_PAD_Y, strong_height = row_height + 4, x = l->x + l->width - width, total = 0;
    for (size_t i = 0; i < block->as.pairs.row_count; i++) total += block->as.pairs.rows[i].strong ? strong_height : row_height;
    int rc = ensure(l, total);
    for (size_t i = 0; i < block->as.pairs.row_count && rc == SH_OK; i++) {
        const sh_pdf_pair_t *row = &block->as.pairs.rows[i];
        float height = row->strong ? strong_height : row_height, text_size = row->strong ? size * 1.15f : size, inner = width - 2 * CELL_PAD_X;
        sh_pdf_style_t label_style = {.bold = row->strong, .color = row->strong ? block->as.pairs.color : block->as.pairs.label_color};
        sh_pdf_style_t value_style = {.bold = row->strong, .align = SH_PDF_RIGHT};
        if (row->strong) value_style.color = block->as.pairs.color;
        sh_arena_reset(l->scratch);
        rc = ensure(l, height);
        if (rc) break;
        sh_pdf_lines_t value = wrap(l, row->strong, row->value, text_size, inner);
        sh_pdf_lines_t label = wrap(l, row->strong, row->label, text_size, inner - value.at[0].width - CELL_PAD_X);
        if (row->strong) rect(l, block->as.pairs.background, x, l->y, width, height);
        float y = l->y + (height - text_size * LINE_HEIGHT) / 2;
        draw_line(l, &label.at[0], &label_style, text_size, x + CELL_PAD_X, inner, y);
        draw_line(l, &value.at[0], &value_style, text_size, x + CELL_PAD_X, inner, y);
        l->y += height;
    }
    return rc;
}

/* ---- tables */

typedef struct table {
    const sh_pdf_block_t *block;
    float widths[SH_PDF_COLUMNS_MAX], size, line_height, head_height;
    sh_pdf_lines_t cells[SH_PDF_COLUMNS_MAX]; /* of the row at hand */
    size_t line_count;
} table_t;

static void measure_row(layout_t *l, table_t *t, const sh_str_t *texts, bool is_head) {
    sh_arena_reset(l->scratch);
    t->line_count = 1;
    for (size_t i = 0; i < t->block->as.table.column_count; i++) {
        t->cells[i] = wrap(l, is_head, is_head ? t->block->as.table.columns[i].title : texts[i], t->size, t->widths[i] - 2 * CELL_PAD_X);
        if (t->cells[i].count > t->line_count) t->line_count = t->cells[i].count;
    }
}

/* Lines `first` to `first + count` of the measured row. */
static void draw_row(layout_t *l, const table_t *t, size_t first, size_t count, bool is_head, sh_pdf_color_t background) {
    float height = (float)count * t->line_height + 2 * CELL_PAD_Y, x = l->x;
    rect(l, background, l->x, l->y, l->width, height);
    for (size_t i = 0; i < t->block->as.table.column_count; i++) {
        const sh_pdf_style_t style = {
            .bold = is_head, .align = t->block->as.table.columns[i].align, .color = is_head ? t->block->as.table.head_color : (sh_pdf_color_t){0}};
        for (size_t k = first; k < first + count && k < t->cells[i].count; k++)
            draw_line(l, &t->cells[i].at[k], &style, t->size, x + CELL_PAD_X, t->widths[i] - 2 * CELL_PAD_X,
                      l->y + CELL_PAD_Y + (float)(k - first) * t->line_height);
        x += t->widths[i];
    }
    l->y += height;
    if (!is_head) rect(l, t->block->as.table.line, l->x, l->y - 0.5f, l->width, 0.5f);
}

static void draw_head(layout_t *l, table_t *t) {
    measure_row(l, t, NULL, true);
    draw_row(l, t, 0, t->line_count, true, t->block->as.table.head_background);
}

/* After the head was drawn in between; its missing glyphs were counted before. */
static void remeasure_row(layout_t *l, table_t *t, size_t index) {
    sh_pdf_stats_t *stats = l->stats;
    l->stats = NULL;
    measure_row(l, t, t->block->as.table.cells + index * t->block->as.table.column_count, false);
    l->stats = stats;
}

/* A row moves to the next page as a whole, unless no page is tall enough for it: then it is torn between lines. */
static int run_row(layout_t *l, table_t *t, size_t index) {
    const sh_pdf_color_t none = {0};
    measure_row(l, t, t->block->as.table.cells + index * t->block->as.table.column_count, false);
    float page_room = bottom(l) - l->doc->margin_top - t->head_height;
    for (size_t first = 0; first < t->line_count;) {
        size_t left = t->line_count - first, count = left;
        float height = (float)left * t->line_height + 2 * CELL_PAD_Y, room = bottom(l) - l->y;
        if (!l->fixed && height > room + EPSILON) {
            float lines = floorf((room - 2 * CELL_PAD_Y) / t->line_height);
            bool must_tear = height > page_room + EPSILON;
            if (must_tear && lines >= 2) {
                count = (size_t)lines < left ? (size_t)lines : left;
            } else {
                int rc = next_page(l);
                if (rc) return rc;
                if (page_room < t->line_height * 2 + 2 * CELL_PAD_Y)
                    return sh_pdf_fail(l->paper->err, SH_EINVAL, "the head of a table leaves no room for its rows");
                draw_head(l, t);
                remeasure_row(l, t, index);
                continue;
            }
        }
        draw_row(l, t, first, count, false, index % 2 ? t->block->as.table.stripe : none);
        first += count;
    }
    return SH_OK;
}

static int run_table(layout_t *l, const sh_pdf_block_t *block) {
    table_t t = {.block = block, .size = or_default(block->as.table.size, l->doc->size)};
    float fixed[SH_PDF_COLUMNS_MAX], weights[SH_PDF_COLUMNS_MAX];
    size_t columns = block->as.table.column_count;
    if (columns == 0 || columns > SH_PDF_COLUMNS_MAX) return sh_pdf_fail(l->paper->err, SH_EINVAL, "a table has 1 to %d columns", SH_PDF_COLUMNS_MAX);
    t.line_height = t.size * LINE_HEIGHT;
    for (size_t i = 0; i < columns; i++) {
        fixed[i] = block->as.table.columns[i].width;
        weights[i] = block->as.table.columns[i].weight;
    }
    int rc = share(l, l->width, 0, columns, fixed, weights, t.widths);
    if (rc) return rc;
    if (!l->measuring) {
        if (block->as.table.row_count > *l->rows_left) return sh_pdf_fail(l->paper->err, SH_ELIMIT, "the document has too many table rows");
        *l->rows_left -= (uint32_t)block->as.table.row_count;
    }
    measure_row(l, &t, NULL, true);
    t.head_height = (float)t.line_count * t.line_height + 2 * CELL_PAD_Y;
    rc = ensure(l, t.head_height + 2 * t.line_height + 2 * CELL_PAD_Y);
    if (rc) return rc;
    draw_head(l, &t);
    for (size_t i = 0; i < block->as.table.row_count; i++) {
        rc = run_row(l, &t, i);
        if (rc == SH_OK && !l->measuring) rc = sh_pdf_paper_check(l->paper);
        if (rc) return rc;
    }
    return SH_OK;
}

/* ---- columns */

static int run_stack(const layout_t *l, const sh_pdf_stack_t *stack, float x, float width, float y, bool measuring, float *end) {
    layout_t in = *l;
    in.x = x;
    in.width = width;
    in.y = y;
    in.depth++;
    in.fixed = true;
    in.measuring = measuring;
    int rc = run_blocks(&in, stack->blocks, stack->block_count);
    *end = in.y;
    return rc;
}

static int run_columns(layout_t *l, const sh_pdf_block_t *block) {
    const sh_pdf_stack_t *stacks = block->as.columns.stacks;
    size_t count = block->as.columns.stack_count;
    float fixed[SH_PDF_COLUMNS_MAX], weights[SH_PDF_COLUMNS_MAX], widths[SH_PDF_COLUMNS_MAX];
    float padding = block->as.columns.padding, gap = block->as.columns.gap, height = 0, end;
    bool bleed = block->as.columns.bleed && !l->fixed;
    if (count == 0 || count > SH_PDF_COLUMNS_MAX) return sh_pdf_fail(l->paper->err, SH_EINVAL, "columns: 1 to %d of them", SH_PDF_COLUMNS_MAX);
    if (l->depth >= SH_PDF_NESTING_MAX) return sh_pdf_fail(l->paper->err, SH_EINVAL, "columns within columns go %d deep", SH_PDF_NESTING_MAX);
    float x = bleed ? l->x : l->x + padding, width = bleed ? l->width : l->width - 2 * padding;
    for (size_t i = 0; i < count; i++) {
        fixed[i] = stacks[i].width;
        weights[i] = stacks[i].weight;
    }
    int rc = share(l, width, gap, count, fixed, weights, widths);
    for (size_t i = 0; i < count && rc == SH_OK; i++) {
        rc = run_stack(l, &stacks[i], x, widths[i], 0, true, &end);
        if (rc == SH_OK && end > height) height = end;
    }
    if (rc) return rc;
    if (height + 2 * padding > bottom(l) - l->doc->margin_top)
        return sh_pdf_fail(l->paper->err, SH_EINVAL, "columns are taller than a page: put long text below each other");
    if (bleed && is_at_top(l) && l->paper->page_count == 1)
        l->y = 0;
    else
        rc = ensure(l, height + 2 * padding);
    if (rc) return rc;
    if (bleed)
        rect(l, block->as.columns.background, 0, l->y, l->doc->width, height + 2 * padding);
    else
        rect(l, block->as.columns.background, l->x, l->y, l->width, height + 2 * padding);
    for (size_t i = 0; i < count && rc == SH_OK; i++) {
        if (!l->measuring) rc = run_stack(l, &stacks[i], x, widths[i], l->y + padding, false, &end);
        x += widths[i] + gap;
    }
    l->y += height + 2 * padding;
    return rc;
}

/* ---- all of it */

static int run_block(layout_t *l, const sh_pdf_block_t *block) {
    switch (block->kind) {
    case SH_PDF_TEXT: return run_text(l, block);
    case SH_PDF_PAIRS: return run_pairs(l, block);
    case SH_PDF_TOTALS: return run_totals(l, block);
    case SH_PDF_TABLE: return run_table(l, block);
    case SH_PDF_COLUMNS: return run_columns(l, block);
    case SH_PDF_RULE: {
        float thickness = or_default(block->as.rule.thickness, 0.75f);
        int rc = ensure(l, thickness);
        rect(l, block->as.rule.color.is_set ? block->as.rule.color : l->doc->line, l->x, l->y, l->width, thickness);
        l->y += thickness;
        return rc;
    }
    case SH_PDF_SPACER: l->y += block->as.spacer.height; return SH_OK;
    case SH_PDF_PAGE_BREAK: return is_at_top(l) ? SH_OK : next_page(l);
    }
    return sh_pdf_fail(l->paper->err, SH_EINVAL, "unknown block");
}

static int run_blocks(layout_t *l, const sh_pdf_block_t *blocks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (l->fixed ? i > 0 : !is_at_top(l)) l->y += blocks[i].space_before;
        sh_arena_reset(l->scratch);
        int rc = run_block(l, &blocks[i]);
        if (rc == SH_OK && !l->measuring) rc = sh_pdf_paper_check(l->paper);
        if (rc) return rc;
        l->y += blocks[i].space_after;
    }
    return SH_OK;
}

/* One line of small text; what is too long is cut. */
static void draw_small(layout_t *l, sh_str_t text, sh_pdf_align_t align, float y) {
    const sh_pdf_style_t style = {.align = align, .color = l->doc->muted};
    if (!text.len) return;
    sh_arena_reset(l->scratch);
    sh_pdf_lines_t lines = wrap(l, false, text, SMALL, l->width);
    draw_line(l, &lines.at[0], &style, SMALL, l->x, l->width, y);
}

static sh_str_t number_pages(layout_t *l, sh_arena_t *arena, uint32_t page) {
    sh_str_t label = l->doc->page_label;
    char digits[16];
    sh_buf_t out = {0};
    for (size_t i = 0; i < label.len; i++) {
        sh_str_t rest = sh_str(label.ptr + i, label.len - i);
        bool is_page = sh_str_has_prefix(rest, SH_STR("{page}")), is_pages = sh_str_has_prefix(rest, SH_STR("{pages}"));
        if (!is_page && !is_pages) {
            sh_buf_put_byte(&out, label.ptr[i]);
            continue;
        }
        snprintf(digits, sizeof digits, "%u", is_page ? page : l->paper->page_count);
        sh_buf_put_c(&out, digits);
        i += is_page ? 5 : 6;
    }
    sh_str_t text = sh_arena_str(arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
    return text;
}

static void draw_watermark(layout_t *l) {
    sh_arena_reset(l->scratch);
    sh_pdf_lines_t at_100 = wrap(l, true, l->doc->watermark, 100, INFINITY);
    float diagonal = hypotf(l->doc->width, l->doc->height), width = at_100.at[0].width;
    if (width <= 0) return;
    float size = diagonal * 0.62f / width * 100;
    if (size > 150) size = 150;
    sh_pdf_paper_watermark(l->paper, l->doc->watermark_color.is_set ? l->doc->watermark_color : l->doc->color, at_100.at[0].text, width * size / 100,
                           size);
}

static int finish_pages(layout_t *l, sh_arena_t *arena) {
    const sh_pdf_doc_t *doc = l->doc;
    l->x = doc->margin_left;
    l->width = doc->width - doc->margin_left - doc->margin_right;
    for (uint32_t i = 0; i < l->paper->page_count; i++) {
        float foot = doc->height - doc->margin_bottom;
        sh_pdf_paper_turn_to(l->paper, i);
        if (i > 0 && (doc->running_left.len || doc->running_right.len)) {
            rect(l, doc->line, l->x, doc->margin_top - 9, l->width, 0.5f);
            draw_small(l, doc->running_left, SH_PDF_LEFT, doc->margin_top - 9 - SMALL * 1.7f);
            draw_small(l, doc->running_right, SH_PDF_RIGHT, doc->margin_top - 9 - SMALL * 1.7f);
        }
        if (doc->footer.len || doc->page_label.len) {
            rect(l, doc->line, l->x, foot + 10, l->width, 0.5f);
            draw_small(l, doc->footer, SH_PDF_LEFT, foot + 14);
            draw_small(l, number_pages(l, arena, i + 1), SH_PDF_RIGHT, foot + 14);
        }
        if (doc->watermark.len) draw_watermark(l);
        int rc = sh_pdf_paper_check(l->paper);
        if (rc) return rc;
    }
    return SH_OK;
}

int sh_pdf_layout_run(sh_pdf_paper_t *paper, uint32_t rows_max, sh_pdf_stats_t *stats) {
    const sh_pdf_doc_t *doc = paper->doc;
    sh_arena_t scratch, kept;
    sh_arena_init(&scratch);
    sh_arena_init(&kept);
    layout_t l = {.paper = paper,
                  .doc = doc,
                  .stats = stats,
                  .scratch = &scratch,
                  .rows_left = &rows_max,
                  .x = doc->margin_left,
                  .width = doc->width - doc->margin_left - doc->margin_right,
                  .y = doc->margin_top};
    int rc = sh_pdf_paper_add_page(paper);
    if (rc == SH_OK) rc = run_blocks(&l, doc->blocks, doc->block_count);
    if (rc == SH_OK) rc = finish_pages(&l, &kept);
    sh_arena_dispose(&kept);
    sh_arena_dispose(&scratch);
    return rc;
}
