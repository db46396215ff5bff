/* What a check found: one line each for people, an array for editors and CI. */
#ifndef SH_FINDINGS_H
#define SH_FINDINGS_H

#include "base/arena.h"
#include "base/buf.h"

#include <stdio.h>

typedef enum sh_severity { SH_SEVERITY_ERROR, SH_SEVERITY_WARNING } sh_severity_t;

typedef struct sh_finding {
    const char *file;    /* from the project's folder: "rules/sales/store.lua"; "" when it has none */
    long line;           /* 0: of the file as a whole */
    const char *code;    /* "message-missing": for editors and for those who count */
    const char *message; /* "what is wrong; what to do" */
    sh_severity_t severity;
} sh_finding_t;

typedef struct sh_findings {
    sh_arena_t arena;
    sh_finding_t *items;
    size_t count, room;
} sh_findings_t;

void sh_findings_init(sh_findings_t *f);
void sh_findings_dispose(sh_findings_t *f);

/* Texts are copied. */
void sh_findings_add(sh_findings_t *f, sh_severity_t severity, const char *code, const char *file, long line, const char *message);
/* Adds "file:line: message" as Lua and our own checks write it; without a place the whole text is the message. */
void sh_findings_add_text(sh_findings_t *f, sh_severity_t severity, const char *code, const char *text);
/* Is there one of this place already? */
bool sh_findings_has(const sh_findings_t *f, const char *file, long line);
size_t sh_findings_errors(const sh_findings_t *f);

/* By file and line. */
void sh_findings_sort(sh_findings_t *f);
void sh_findings_print(const sh_findings_t *f, FILE *out, bool colour);
void sh_findings_put_json(const sh_findings_t *f, sh_buf_t *out);

#endif
