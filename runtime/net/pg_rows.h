/* The rows of a statement, as libpq holds them: counted, decoded only where somebody looks, written as JSON without a detour. */
#ifndef SH_PG_ROWS_H
#define SH_PG_ROWS_H

#include "base/buf.h"

#include <libpq-fe.h>

/* What a column is, found once from its type's OID. Connections are set to timezone UTC, DateStyle ISO, bytea_output hex. */
typedef enum sh_pg_kind {
    SH_PG_TEXT,
    SH_PG_BOOL,
    SH_PG_INT,
    /* int2, int4 */ SH_PG_BIGINT,
    SH_PG_NUMERIC,
    SH_PG_FLOAT,
    SH_PG_UUID,
    SH_PG_DATE,
    SH_PG_TIMESTAMPTZ,
    SH_PG_JSON,
    /* json, jsonb */ SH_PG_BYTEA,
    SH_PG_TEXT_ARRAY,
    SH_PG_INT_ARRAY,
    SH_PG_UUID_ARRAY,
} sh_pg_kind_t;

typedef struct sh_pg_column {
    const char *name; /* lent by the result */
    sh_pg_kind_t kind;
} sh_pg_column_t;

typedef struct sh_pg_rows {
    PGresult *result;
    uint32_t row_count, column_count;
    uint32_t affected; /* rows an INSERT, UPDATE, DELETE touched */
    uint32_t retained;
    const sh_pg_column_t *columns;
    sh_str_t *keys; /* for sh_pg_rows_keys() */
} sh_pg_rows_t;

/* Takes the result. Count starts at one. */
sh_pg_rows_t *sh_pg_rows_create(PGresult *result);
static inline sh_pg_rows_t *sh_pg_rows_retain(sh_pg_rows_t *rows) {
    rows->retained++;
    return rows;
}
void sh_pg_rows_release(sh_pg_rows_t *rows);

static inline bool sh_pg_rows_is_null(const sh_pg_rows_t *rows, uint32_t row, uint32_t column) {
    return PQgetisnull(rows->result, (int)row, (int)column);
}
static inline sh_str_t sh_pg_rows_text(const sh_pg_rows_t *rows, uint32_t row, uint32_t column) {
    return sh_str(PQgetvalue(rows->result, (int)row, (int)column), (size_t)PQgetlength(rows->result, (int)row, (int)column));
}
/* The columns' names as they are written in JSON, with quotes and colon; made when they are asked for the first time. */
const sh_str_t *sh_pg_rows_keys(sh_pg_rows_t *rows);
/* The column's number, or -1. */
int sh_pg_rows_column(const sh_pg_rows_t *rows, sh_str_t name);

/* One value, one row as an object (without the closing brace when `open`, so that members can follow), all rows as an array.
 * numeric becomes a string, bigint a number below 2^53 and else a string, timestamptz RFC 3339 with Z, arrays of text, int, uuid JSON arrays. */
void sh_pg_rows_write_value(const sh_pg_rows_t *rows, uint32_t row, uint32_t column, sh_buf_t *out);
void sh_pg_rows_write_row(sh_pg_rows_t *rows, uint32_t row, bool open, sh_buf_t *out);
void sh_pg_rows_write_all(sh_pg_rows_t *rows, sh_buf_t *out);

/* The text form of timestamptz as RFC 3339 ("infinity" and years beyond 9999 stay as they are), appended without quotes. */
void sh_pg_put_timestamptz(sh_buf_t *out, sh_str_t text);
/* Is it an integer that a double holds exactly (at most 2^53 - 1)? Then sets *out. */
bool sh_pg_exact_integer(sh_str_t text, int64_t *out);

/* Walks the items of an array's text form: {a,"b c",NULL}. An item that is an array again comes as its text. */
typedef struct sh_pg_array {
    const char *at, *end;
} sh_pg_array_t;

typedef struct sh_pg_item {
    sh_str_t text; /* in the array's text, or in `scratch` where it had escapes: until the next call */
    bool is_null, is_array;
} sh_pg_item_t;

void sh_pg_array_open(sh_pg_array_t *array, sh_str_t text);
bool sh_pg_array_next(sh_pg_array_t *array, sh_buf_t *scratch, sh_pg_item_t *out);

/* Appends an item of an array's text form, in quotes, with a comma before it unless it is the first behind '{'. */
void sh_pg_array_put(sh_buf_t *out, sh_str_t item);
/* The item alone, in quotes, with its escapes. */
void sh_pg_array_put_escaped(sh_buf_t *out, sh_str_t item);

#endif
