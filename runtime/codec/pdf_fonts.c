/* Which characters a face has, how wide they are, and how a text breaks into lines.
 *
 * libharu drops a character that its font lacks and cannot measure text in UTF-8 fonts without marking glyphs as used, so the widths
 * come from FreeType: a table over the basic plane for each face, rounded exactly as libharu writes them to the file. libharu
 * knows no character beyond that plane. */
#include "codec/pdf_internal.h"

#include "base/err.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_ADVANCES_H
#include <stdio.h>
#include <stdlib.h>

enum { PLANE = 0x10000, MISSING = 0xffff, BOX = 0x25a1, PATH_BYTES_MAX = 512 };

struct sh_pdf_fonts {
    char paths[SH_PDF_FACES][PATH_BYTES_MAX];
    uint32_t box[SH_PDF_FACES];           /* what stands for a missing character */
    uint16_t widths[SH_PDF_FACES][PLANE]; /* thousandths of the size */
};

static int read_face(FT_Library library, const char *path, uint16_t *widths, sh_pdf_error_t *err) {
    FT_Face face;
    FT_UInt glyph;
    if (FT_New_Face(library, path, 0, &face)) return sh_pdf_fail(err, SH_EIO, "the font %s cannot be read (Debian package fonts-dejavu-core)", path);
    int rc = SH_OK;
    memset(widths, 0xff, PLANE * sizeof *widths);
    if (FT_Select_Charmap(face, FT_ENCODING_UNICODE) || !face->units_per_EM) {
        rc = sh_pdf_fail(err, SH_EIO, "the font %s has no Unicode table", path);
    } else {
        for (FT_ULong c = FT_Get_First_Char(face, &glyph); glyph; c = FT_Get_Next_Char(face, c, &glyph)) {
            FT_Fixed advance = 0;
            if (c >= PLANE || FT_Get_Advance(face, glyph, FT_LOAD_NO_SCALE, &advance)) continue;
            widths[c] = (uint16_t)((uint32_t)advance * 1000 / face->units_per_EM);
        }
    }
    FT_Done_Face(face);
    return rc;
}

int sh_pdf_fonts_create(const char *folder, sh_pdf_fonts_t **out, sh_pdf_error_t *err) {
    static const char *const names[SH_PDF_FACES] = {"DejaVuSans.ttf", "DejaVuSans-Bold.ttf"};
    FT_Library library;
    if (FT_Init_FreeType(&library)) return sh_pdf_fail(err, SH_EIO, "FreeType does not start");
    sh_pdf_fonts_t *fonts = sh_calloc(1, sizeof *fonts);
    int rc = SH_OK;
    for (int i = 0; i < SH_PDF_FACES && rc == SH_OK; i++) {
        int n = snprintf(fonts->paths[i], PATH_BYTES_MAX, "%s/%s", folder, names[i]);
        if (n < 0 || n >= PATH_BYTES_MAX)
            rc = sh_pdf_fail(err, SH_EINVAL, "the font folder's name is too long");
        else
            rc = read_face(library, fonts->paths[i], fonts->widths[i], err);
        fonts->box[i] = fonts->widths[i][BOX] != MISSING ? BOX : '?';
    }
    FT_Done_FreeType(library);
    if (rc)
        sh_pdf_fonts_destroy(fonts);
    else
        *out = fonts;
    return rc;
}

void sh_pdf_fonts_destroy(sh_pdf_fonts_t *fonts) { free(fonts); }

const char *sh_pdf_fonts_path(const sh_pdf_fonts_t *fonts, sh_pdf_face_t face) { return fonts->paths[face]; }

/* ---- UTF-8 (RFC 3629) */

/* The code point at *at, which moves behind it; an ill-formed byte is U+FFFD and one byte. */
static uint32_t next_char(const unsigned char **at, const unsigned char *end) {
    const unsigned char *p = *at;
    uint32_t c = *p++, least, more;
    if (c < 0x80) {
        *at = p;
        return c;
    }
    if (c >= 0xc2 && c <= 0xdf)
        c &= 0x1f, more = 1, least = 0x80;
    else if ((c & 0xf0) == 0xe0)
        c &= 0x0f, more = 2, least = 0x800;
    else if (c >= 0xf0 && c <= 0xf4)
        c &= 0x07, more = 3, least = 0x10000;
    else
        more = 0, least = UINT32_MAX;
    const unsigned char *q = p;
    for (; more && q < end && (*q & 0xc0) == 0x80; more--) c = c << 6 | (*q++ & 0x3f);
    if (more || c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        *at = p;
        return 0xfffd;
    }
    *at = q;
    return c;
}

static char *put_char(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

sh_str_t sh_pdf_utf16(sh_str_t text, sh_arena_t *arena) {
    const unsigned char *p = (const unsigned char *)text.ptr, *end = p + text.len;
    char *start = sh_arena_alloc(arena, 2 + text.len * 2), *to = start;
    *to++ = (char)0xfe;
    *to++ = (char)0xff;
    while (p < end) {
        uint32_t c = next_char(&p, end);
        if (c >= PLANE) {
            uint32_t high = 0xd800 + ((c - PLANE) >> 10);
            *to++ = (char)(high >> 8);
            *to++ = (char)high;
            c = 0xdc00 + ((c - PLANE) & 0x3ff);
        }
        *to++ = (char)(c >> 8);
        *to++ = (char)c;
    }
    return sh_str(start, (size_t)(to - start));
}

/* What accents written as a character of their own (as macOS does in file names) become; DejaVu would set them beside the letter. */
static uint32_t compose(uint32_t base, uint32_t mark) {
    static const struct {
        uint16_t mark;
        const char *bases;
        uint16_t composed[12];
    } table[] = {
        {0x0300, "AEIOUaeiou", {0xc0, 0xc8, 0xcc, 0xd2, 0xd9, 0xe0, 0xe8, 0xec, 0xf2, 0xf9}},
        {0x0301, "AEIOUYaeiouy", {0xc1, 0xc9, 0xcd, 0xd3, 0xda, 0xdd, 0xe1, 0xe9, 0xed, 0xf3, 0xfa, 0xfd}},
        {0x0302, "AEIOUaeiou", {0xc2, 0xca, 0xce, 0xd4, 0xdb, 0xe2, 0xea, 0xee, 0xf4, 0xfb}},
        {0x0303, "ANOano", {0xc3, 0xd1, 0xd5, 0xe3, 0xf1, 0xf5}},
        {0x0308, "AEIOUaeiouy", {0xc4, 0xcb, 0xcf, 0xd6, 0xdc, 0xe4, 0xeb, 0xef, 0xf6, 0xfc, 0xff}},
        {0x0327, "Cc", {0xc7, 0xe7}},
    };
    for (size_t i = 0; base && base < 0x80 && i < SH_ARRAY_LEN(table); i++) {
        const char *found = table[i].mark == mark ? strchr(table[i].bases, (int)base) : NULL;
        if (found) return table[i].composed[found - table[i].bases];
    }
    return 0;
}

/* ---- lines */

typedef struct breaker {
    const sh_pdf_fonts_t *fonts;
    const uint16_t *widths;
    sh_pdf_face_t face;
    float per_unit;     /* points of a thousandth */
    uint32_t width_max; /* thousandths */
    sh_arena_t *arena;
    sh_pdf_line_t *lines;
    size_t count, cap;
} breaker_t;

static void add_line(breaker_t *b, const char *from, const char *to) {
    while (to > from && to[-1] == ' ') to--;
    uint32_t width = 0;
    for (const unsigned char *p = (const unsigned char *)from; p < (const unsigned char *)to;)
        width += b->widths[next_char(&p, (const unsigned char *)to)];
    if (b->count == b->cap) {
        sh_pdf_line_t *more = sh_arena_alloc(b->arena, (b->cap * 4 + 4) * sizeof *more);
        if (b->count) memcpy(more, b->lines, b->count * sizeof *more);
        b->lines = more;
        b->cap = b->cap * 4 + 4;
    }
    b->lines[b->count++] = (sh_pdf_line_t){sh_arena_str(b->arena, sh_str(from, (size_t)(to - from))).ptr, (float)width * b->per_unit};
}

/* One paragraph of clean text, greedily. */
static void break_paragraph(breaker_t *b, const char *from, const char *end) {
    const char *line = from, *good = NULL, *p = from;
    uint32_t width = 0, width_at_good = 0;
    while (p < end) {
        const unsigned char *next = (const unsigned char *)p;
        uint32_t c = next_char(&next, (const unsigned char *)end), w = b->widths[c];
        if (width + w > b->width_max && p > line && c != ' ') {
            const char *cut = good ? good : p;
            add_line(b, line, cut);
            width -= good ? width_at_good : width;
            line = cut;
            good = NULL;
            continue; /* the same character again, now on the new line */
        }
        width += w;
        p = (const char *)next;
        if (c == ' ' || ((c == '-' || c == '/' || c == 0x2013) && p - line > 1)) {
            good = p;
            width_at_good = width;
        }
    }
    add_line(b, line, end);
}

/* Only characters that the face has, lines ended by '\n'. */
static sh_str_t clean(const sh_pdf_fonts_t *fonts, sh_pdf_face_t face, sh_str_t text, sh_arena_t *arena, sh_pdf_stats_t *stats) {
    const unsigned char *p = (const unsigned char *)text.ptr, *end = p + text.len;
    char *start = sh_arena_alloc(arena, text.len * 3 + 1), *to = start, *last_at = NULL;
    uint32_t last = 0;
    while (p < end) {
        uint32_t c = next_char(&p, end), composed = compose(last, c);
        if (composed && fonts->widths[face][composed] != MISSING) {
            to = put_char(last_at, last = composed);
            continue;
        }
        if (c == '\r' || c == 0xfeff || (c >= 0x200b && c <= 0x200f) || c == 0xad) continue; /* nothing to see */
        if (c == 0x2028 || c == 0x2029) c = '\n';
        if (c != '\n' && (c < 0x20 || (c >= 0x7f && c < 0xa0))) c = ' ';
        if (c != '\n' && (c >= PLANE || c == 0xfffd || fonts->widths[face][c] == MISSING)) {
            if (stats && stats->missing_glyphs++ == 0) stats->missing_first = c;
            c = fonts->box[face];
        }
        last = c;
        last_at = to;
        to = put_char(to, c);
    }
    return sh_str(start, (size_t)(to - start));
}

sh_pdf_lines_t sh_pdf_fonts_wrap(const sh_pdf_fonts_t *fonts, sh_pdf_face_t face, sh_str_t text, float size, float width, sh_arena_t *arena,
                                 sh_pdf_stats_t *stats) {
    float units = width / size * 1000.0f + 0.5f;
    breaker_t b = {.fonts = fonts,
                   .widths = fonts->widths[face],
                   .face = face,
                   .per_unit = size / 1000.0f,
                   .arena = arena,
                   .width_max = units < 1      ? 1
                                : units > 1e8f ? 100000000u
                                               : (uint32_t)units};
    sh_str_t shown = clean(fonts, face, text, arena, stats);
    const char *at = shown.ptr, *end = shown.ptr + shown.len;
    for (;;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        break_paragraph(&b, at, stop ? stop : end);
        if (!stop) break;
        at = stop + 1;
    }
    return (sh_pdf_lines_t){b.lines, b.count};
}
