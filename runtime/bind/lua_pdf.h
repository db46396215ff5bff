/* The primitive `shama.pdf`: a description, a plain Lua table, becomes a PDF off the loop.
 *
 * A description (unknown keys and wrong types are refused, and the message names the place, "blocks[3].rows[1][2]"):
 *
 *     { title, author, subject, language, created_at (required, RFC 3339: the only clock of a document),
 *       paper = "A4" | "letter", margins = { top, right, bottom, left }, size, color,
 *       running = { left, right }, footer, page_label = "Page {page} of {pages}", watermark, watermark_color,
 *       blocks = { { kind = "...", space_before, space_after, ... }, ... } }
 *
 *     heading, text  text (required), size, bold, align, color; heading: keeps with what follows
 *     pairs          rows = { { label, value, strong = true }, ... }, size, width, label_width, label_color
 *     totals         the same, and background, color of strong rows
 *     table          columns = { { title, width | weight, align }, ... }, rows = { { cell, ... }, ... }, size, head_background, head_color, stripe,
 * line columns        columns = { { width | weight, blocks }, ... }, gap, padding, background, bleed rule           color, thickness spacer height
 *     page_break
 *
 * A text is a string, an integer or a decimal. Sizes are points. A colour is "#rrggbb", "none" or a name: primary and secondary are the
 * brand's, on_primary and on_secondary the black or white that can be read on them, and text, muted, line, light, white, black. */
#ifndef SH_LUA_PDF_H
#define SH_LUA_PDF_H

#include "base/arena.h"
#include "codec/pdf.h"

#include <lua.h>
#include <uv.h>

typedef struct sh_lua_pdf_fonts sh_lua_pdf_fonts_t;

/* One per worker; `data` of the primitive. The settings are borrowed and looked at for each document, so a reload may change them in place.
 * With a font_dir the fonts are read when the primitive opens; without one (while rules are checked only) nothing can be rendered. */
typedef struct sh_lua_pdf_opts {
    uv_loop_t *loop;
    const char *font_dir;        /* with DejaVuSans.ttf and DejaVuSans-Bold.ttf */
    const char *brand_primary;   /* "#f0c800" */
    const char *brand_secondary; /* "#2E2725" */
    uint32_t running_max;        /* documents at once; 0: 16. One more does not wait: it is refused as "limit" */
    /* private, zero at first */
    sh_lua_pdf_fonts_t *fonts;
    uint32_t running;
} sh_lua_pdf_opts_t;

typedef struct sh_lua_pdf_brand {
    sh_pdf_color_t primary, secondary;
} sh_lua_pdf_brand_t;

/* Pushes { render = function(description) -> bytes, missing glyphs | nil, { kind = "description" | "limit" | "other", message } }. */
int sh_lua_pdf_open(lua_State *L, void *data);
/* Frees the fonts; only when no document is being rendered any more. The settings stay the caller's. */
void sh_lua_pdf_dispose(sh_lua_pdf_opts_t *opts);

/* Reads the table at `index` into `arena`; nothing of the result points into Lua. SH_EINVAL or SH_ELIMIT with place and reason in err.
 * May raise for lack of memory only. */
int sh_lua_pdf_read(lua_State *L, int index, const sh_lua_pdf_brand_t *brand, sh_arena_t *arena, sh_pdf_doc_t *out, sh_pdf_error_t *err) SH_MUSTCHECK;
/* "#rrggbb". */
int sh_lua_pdf_color_parse(const char *text, sh_pdf_color_t *out) SH_MUSTCHECK;

#endif
