/* A list of findings and its two ways out. */
#include "app/findings.h"

#include <stdlib.h>

void sh_findings_init(sh_findings_t *f) {
    *f = (sh_findings_t){0};
    sh_arena_init(&f->arena);
}

void sh_findings_dispose(sh_findings_t *f) {
    free(f->items);
    sh_arena_dispose(&f->arena);
    *f = (sh_findings_t){0};
}

static const char *copy_line(sh_findings_t *f, sh_str_t text) {
    while (text.len && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == ' ')) text.len--;
    char *copy = sh_arena_printf(&f->arena, "%.*s", (int)text.len, text.len ? text.ptr : "");
    for (char *c = copy; *c; c++)
        if (*c == '\n' || *c == '\t' || *c == '\r') *c = ' ';
    return copy;
}

void sh_findings_add(sh_findings_t *f, sh_severity_t severity, const char *code, const char *file, long line, const char *message) {
    if (f->count == f->room) {
        f->room = f->room ? f->room * 2 : 16;
        f->items = sh_realloc(f->items, f->room * sizeof *f->items);
    }
    f->items[f->count++] =
        (sh_finding_t){copy_line(f, sh_str_of(file)), line, copy_line(f, sh_str_of(code)), copy_line(f, sh_str_of(message)), severity};
}

void sh_findings_add_text(sh_findings_t *f, sh_severity_t severity, const char *code, const char *text) {
    size_t len = strcspn(text, ": \n");
    char *end = (char *)text + len;
    if (text[len] != ':' || !memchr(text, '.', len)) {
        sh_findings_add(f, severity, code, "", 0, text);
        return;
    }
    long line = strtol(text + len + 1, &end, 10);
    if (*end != ':' || line < 0) line = 0, end = (char *)text + len;
    const char *file = sh_arena_printf(&f->arena, "%.*s", (int)len, text);
    sh_findings_add(f, severity, code, file, line, end + 1 + strspn(end + 1, " "));
}

bool sh_findings_has(const sh_findings_t *f, const char *file, long line) {
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].line == line && strcmp(f->items[i].file, file) == 0) return true;
    return false;
}

size_t sh_findings_errors(const sh_findings_t *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++) n += f->items[i].severity == SH_SEVERITY_ERROR;
    return n;
}

static int by_place(const void *a, const void *b) {
    const sh_finding_t *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    if (!order) order = (x->line > y->line) - (x->line < y->line);
    return order ? order : strcmp(x->message, y->message);
}

void sh_findings_sort(sh_findings_t *f) {
    if (f->count) qsort(f->items, f->count, sizeof *f->items, by_place);
}

void sh_findings_print(const sh_findings_t *f, FILE *out, bool colour) {
    for (size_t i = 0; i < f->count; i++) {
        const sh_finding_t *x = &f->items[i];
        bool is_error = x->severity == SH_SEVERITY_ERROR;
        const char *on = !colour ? "" : is_error ? "\033[31m" : "\033[33m", *off = colour ? "\033[0m" : "", *bold = colour ? "\033[1m" : "";
        if (*x->file && x->line)
            fprintf(out, "%s%s:%ld:%s ", bold, x->file, x->line, off);
        else if (*x->file)
            fprintf(out, "%s%s:%s ", bold, x->file, off);
        fprintf(out, "%s%s%s%s\n", on, is_error ? "" : "warning: ", x->message, off);
    }
}

void sh_findings_put_json(const sh_findings_t *f, sh_buf_t *out) {
    sh_buf_put_byte(out, '[');
    for (size_t i = 0; i < f->count; i++) {
        const sh_finding_t *x = &f->items[i];
        sh_buf_put_c(out, i ? ",\n {\"file\":" : "{\"file\":");
        sh_buf_put_json(out, sh_str_of(x->file));
        sh_buf_printf(out, ",\"line\":%ld,\"code\":", x->line);
        sh_buf_put_json(out, sh_str_of(x->code));
        sh_buf_put_lit(out, ",\"message\":");
        sh_buf_put_json(out, sh_str_of(x->message));
        sh_buf_printf(out, ",\"severity\":\"%s\"}", x->severity == SH_SEVERITY_ERROR ? "error" : "warning");
    }
    sh_buf_put_lit(out, "]\n");
}
