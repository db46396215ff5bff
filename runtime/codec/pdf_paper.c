/* libharu behind a few marks: pages, texts, rectangles; its memory is counted and its errors are remembered.
 *
 * libharu's error handler only notes the first refusal: nothing jumps across its frames, and who draws asks sh_pdf_paper_check()
 * now and then. Its allocators get no context, so the account of the render that this thread is in lies in a thread-local pointer. */
#include "codec/pdf_internal.h"

#include "base/err.h"
#include "base/time.h"

#include <hpdf_doc.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Before each block: libharu forgets some when memory runs out, so the account can find and free them. */
typedef struct block {
    sh_list_t link;
    size_t size;
} __attribute__((aligned(16))) block_t;

static _Thread_local sh_pdf_account_t *account_of_thread;

static void *counted_alloc(HPDF_UINT size) {
    sh_pdf_account_t *account = account_of_thread;
    SH_ASSERT(account);
    if (size > account->max - account->used) {
        account->is_over = true;
        return NULL;
    }
    block_t *block = sh_alloc(sizeof *block + size);
    block->size = size;
    sh_list_link(&account->blocks, &block->link);
    account->used += size;
    if (account->used > account->peak) account->peak = account->used;
    return block + 1;
}

static void counted_free(void *ptr) {
    if (!ptr) return;
    block_t *block = (block_t *)ptr - 1;
    account_of_thread->used -= block->size;
    sh_list_unlink(&block->link);
    free(block);
}

static void close_account(sh_pdf_account_t *account) {
    while (!sh_list_is_empty(&account->blocks)) counted_free(SH_CONTAINER_OF(account->blocks.next, block_t, link) + 1);
    account_of_thread = NULL;
}

static void note_error(HPDF_STATUS error, HPDF_STATUS detail, void *data) {
    sh_pdf_paper_t *paper = data;
    (void)detail;
    if (!paper->failed) paper->failed = error;
}

int sh_pdf_fail(sh_pdf_error_t *err, int code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    err->code = code;
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

int sh_pdf_paper_check(sh_pdf_paper_t *paper) {
    if (SH_LIKELY(!paper->failed)) return SH_OK;
    if (paper->account.is_over) return sh_pdf_fail(paper->err, SH_ELIMIT, "the document needs more than %zu bytes of memory", paper->account.max);
    if (paper->failed == HPDF_FILE_OPEN_ERROR || paper->failed == HPDF_FILE_IO_ERROR)
        return sh_pdf_fail(paper->err, SH_EIO, "a font file cannot be read");
    return sh_pdf_fail(paper->err, SH_EINVAL, "libharu refused with 0x%04lX", (unsigned long)paper->failed);
}

/* ---- life */

int sh_pdf_paper_init(sh_pdf_paper_t *paper) {
    SH_ASSERT(!account_of_thread);
    account_of_thread = &paper->account;
    sh_list_init(&paper->account.blocks);
    paper->haru = HPDF_NewEx(note_error, counted_alloc, counted_free, 0, paper);
    if (!paper->haru) {
        close_account(&paper->account);
        if (!paper->failed) paper->failed = HPDF_FAILD_TO_ALLOC_MEM;
        return sh_pdf_paper_check(paper);
    }
    HPDF_UseUTFEncodings(paper->haru);
    HPDF_SetCompressionMode(paper->haru, HPDF_COMP_ALL);
    int rc = sh_pdf_paper_check(paper);
    if (rc) sh_pdf_paper_dispose(paper);
    return rc;
}

void sh_pdf_paper_dispose(sh_pdf_paper_t *paper) {
    if (!paper->haru) return;
    HPDF_Free(paper->haru);
    paper->haru = NULL;
    close_account(&paper->account);
}

int sh_pdf_paper_save(sh_pdf_paper_t *paper, size_t bytes_max, sh_buf_t *out) {
    HPDF_SaveToStream(paper->haru);
    int rc = sh_pdf_paper_check(paper);
    if (rc) return rc;
    HPDF_UINT32 size = HPDF_GetStreamSize(paper->haru);
    if (size > bytes_max) return sh_pdf_fail(paper->err, SH_ELIMIT, "the document has %u bytes, %zu are allowed", size, bytes_max);
    HPDF_ResetStream(paper->haru);
    HPDF_ReadFromStream(paper->haru, (HPDF_BYTE *)sh_buf_reserve(out, size), &size);
    rc = sh_pdf_paper_check(paper);
    if (rc == SH_OK) out->len += size;
    return rc;
}

/* ---- pages */

static void forget_state(sh_pdf_paper_t *paper) {
    paper->face = NULL;
    paper->size = 0;
    paper->fill.is_set = false;
}

int sh_pdf_paper_add_page(sh_pdf_paper_t *paper) {
    if (paper->page_count == paper->pages_max) return sh_pdf_fail(paper->err, SH_ELIMIT, "the document has more than %u pages", paper->pages_max);
    if (sh_time_thread_cpu_ns() > paper->cpu_end_ns) return sh_pdf_fail(paper->err, SH_ELIMIT, "the document takes too much CPU time");
    paper->page = HPDF_AddPage(paper->haru);
    if (paper->page) {
        HPDF_Page_SetWidth(paper->page, paper->doc->width);
        HPDF_Page_SetHeight(paper->page, paper->doc->height);
    }
    int rc = sh_pdf_paper_check(paper);
    if (rc) return rc;
    paper->pages[paper->page_count++] = paper->page;
    forget_state(paper);
    return SH_OK;
}

void sh_pdf_paper_turn_to(sh_pdf_paper_t *paper, uint32_t index) {
    paper->page = paper->pages[index];
    forget_state(paper);
}

/* ---- marks */

/* A hundredth of a point is finer than any printer, and short numbers make short files. */
static float rounded(float v) { return roundf(v * 100.0f) / 100.0f; }

static void set_fill(sh_pdf_paper_t *paper, sh_pdf_color_t c) {
    if (paper->fill.is_set && paper->fill.r == c.r && paper->fill.g == c.g && paper->fill.b == c.b) return;
    /* not rounded: a hundredth is coarser than the 255 steps of a brand's colour */
    HPDF_Page_SetRGBFill(paper->page, (float)c.r / 255.0f, (float)c.g / 255.0f, (float)c.b / 255.0f);
    paper->fill = c;
    paper->fill.is_set = true;
}

/* How readers get the text back (PDF 1.7, 9.10.3). libharu writes its encoding's ranges there, which readers complain about; with its
 * UTF-8 encoder a code is the character itself, so the map is the identity. One map serves all faces. */
static void set_to_unicode(sh_pdf_paper_t *paper, HPDF_Font font) {
    static const char head[] = "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
                               "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
                               "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n";
    static const char tail[] = "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n";
    if (!paper->to_unicode) {
        HPDF_Dict map = HPDF_DictStream_New(paper->haru->mmgr, paper->haru->xref);
        sh_buf_t text = {0};
        if (!map) return;
        sh_buf_put_lit(&text, head);
        for (unsigned high = 0; high < 256; high++) { /* a range stays within one high byte, a block has at most 100 ranges */
            if (high % 64 == 0) sh_buf_put_lit(&text, "64 beginbfrange\n");
            sh_buf_printf(&text, "<%02X00> <%02XFF> <%02X00>\n", high, high, high);
            if (high % 64 == 63) sh_buf_put_lit(&text, "endbfrange\n");
        }
        sh_buf_put_lit(&text, tail);
        map->filter = HPDF_STREAM_FILTER_FLATE_DECODE;
        HPDF_Stream_Write(map->stream, (HPDF_BYTE *)text.ptr, (HPDF_UINT)text.len);
        sh_buf_dispose(&text);
        paper->to_unicode = map;
    }
    if (!paper->failed) HPDF_Dict_Add(font, "ToUnicode", paper->to_unicode);
}

/* A face that nobody uses is not put into the file. */
static HPDF_Font face_of(sh_pdf_paper_t *paper, sh_pdf_face_t face) {
    if (paper->faces[face] || paper->failed) return paper->faces[face];
    const char *name = HPDF_LoadTTFontFromFile(paper->haru, sh_pdf_fonts_path(paper->fonts, face), HPDF_TRUE);
    HPDF_Font font = name ? HPDF_GetFont(paper->haru, name, "UTF-8") : NULL;
    if (font) set_to_unicode(paper, font);
    return paper->faces[face] = font;
}

static void set_face(sh_pdf_paper_t *paper, sh_pdf_face_t face, float size) {
    HPDF_Font font = face_of(paper, face);
    if (!font || (paper->face == font && paper->size == size)) return;
    HPDF_Page_SetFontAndSize(paper->page, font, size);
    paper->face = font;
    paper->size = size;
}

void sh_pdf_paper_text(sh_pdf_paper_t *paper, sh_pdf_face_t face, float size, sh_pdf_color_t color, float x, float baseline, const char *text) {
    if (paper->failed || !*text) return;
    set_fill(paper, color);
    set_face(paper, face, size);
    if (paper->failed) return;
    HPDF_Page_BeginText(paper->page);
    HPDF_Page_MoveTextPos(paper->page, rounded(x), rounded(paper->doc->height - baseline));
    HPDF_Page_ShowText(paper->page, text);
    HPDF_Page_EndText(paper->page);
}

void sh_pdf_paper_rect(sh_pdf_paper_t *paper, sh_pdf_color_t color, float x, float y, float w, float h) {
    if (paper->failed || !color.is_set) return;
    set_fill(paper, color);
    HPDF_Page_Rectangle(paper->page, rounded(x), rounded(paper->doc->height - y - h), rounded(w), rounded(h));
    HPDF_Page_Fill(paper->page);
}

void sh_pdf_paper_watermark(sh_pdf_paper_t *paper, sh_pdf_color_t color, const char *text, float width, float size) {
    if (paper->failed) return;
    if (!paper->faint) {
        paper->faint = HPDF_CreateExtGState(paper->haru);
        if (!paper->faint) return;
        HPDF_ExtGState_SetAlphaFill(paper->faint, 0.08f);
    }
    const float half = width / 2, rise = size * 0.36f; /* half of the capitals' height */
    float angle = atan2f(paper->doc->height, paper->doc->width), c = cosf(angle), s = sinf(angle);
    HPDF_Page_GSave(paper->page);
    HPDF_Page_SetExtGState(paper->page, paper->faint);
    set_fill(paper, color);
    set_face(paper, SH_PDF_BOLD, size);
    if (!paper->failed) {
        HPDF_Page_BeginText(paper->page);
        HPDF_Page_SetTextMatrix(paper->page, c, s, -s, c, rounded(paper->doc->width / 2 - c * half + s * rise),
                                rounded(paper->doc->height / 2 - s * half - c * rise));
        HPDF_Page_ShowText(paper->page, text);
        HPDF_Page_EndText(paper->page);
    }
    HPDF_Page_GRestore(paper->page);
    forget_state(paper);
}
