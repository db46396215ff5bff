/* Problems (RFC 9457): every refusal the edge sends, in Spanish or English. */
#ifndef SH_PROBLEM_H
#define SH_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/schema.h"

typedef struct sh_problem {
    int status;
    const char *code; /* stable: "NOT_FOUND" */
    sh_str_t detail;  /* empty: the edge's own sentence for the code */
    sh_str_t errors;  /* JSON array of { pointer, code, detail }, or empty */
    sh_str_t extra;   /* further members as JSON without braces, or empty */
    sh_str_t request_id;
    const char *language; /* "es" or "en" */
} sh_problem_t;

/* Appends application/problem+json: type, title, status, detail, code, request_id, errors. `type` is /problems/<code in lower case, - for _>. */
void sh_problem_write(const sh_problem_t *problem, sh_buf_t *out);

/* The edge's code for a status that the HTTP server refuses with: 400 BAD_REQUEST, 413 BODY_TOO_LARGE ... */
const char *sh_problem_code_of(int status);

/* "es" or "en" by the quality values of Accept-Language (RFC 9110, 12.5.4); es when neither is wanted or both alike. */
const char *sh_problem_language(sh_str_t accept_language);

/* The next element of a field with quality values ("es-MX, en;q=0.5"): what it names, and its quality in thousandths.
 * False at the end. Malformed elements are passed over. */
bool sh_problem_next_range(sh_str_t *rest, sh_str_t *range, int *quality);

/* The edge's sentence for a code, or NULL for a code of somebody else. */
const char *sh_problem_sentence(const char *code, const char *language);

/* The errors array of a schema report, into the report's arena. */
sh_str_t sh_problem_errors(const sh_schema_report_t *report, const char *language);
/* The same for a body that is not JSON: one entry that tells what is wrong and at which byte. */
sh_str_t sh_problem_json_errors(const sh_json_error_t *error, const char *language, sh_arena_t *arena);

#endif
