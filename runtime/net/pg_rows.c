/* Row sets: what a column is, and values as JSON straight from libpq's memory. */
#include "net/pg_rows.h"

#include "base/time.h"

#include <stdlib.h>

enum { EXACT_DIGITS = 15, ARRAY_DEPTH_MAX = 6 /* Postgres' own limit */, KEY_GROWTH = 6 /* \u0000 */ };

static sh_pg_kind_t kind_of(Oid type) {
    switch (type) { /* pg_type.dat; these never change */
    case 16: return SH_PG_BOOL;
    case 17: return SH_PG_BYTEA;
    case 21:
    case 23: return SH_PG_INT;
    case 20:
    case 26: return SH_PG_BIGINT;
    case 700:
    case 701: return SH_PG_FLOAT;
    case 1700: return SH_PG_NUMERIC;
    case 2950: return SH_PG_UUID;
    case 1082: return SH_PG_DATE;
    case 1184: return SH_PG_TIMESTAMPTZ;
    case 114:
    case 3802: return SH_PG_JSON;
    case 1002:
    case 1003:
    case 1009:
    case 1014:
    case 1015: return SH_PG_TEXT_ARRAY; /* char, name, text, bpchar, varchar */
    case 1182:
    case 1231: return SH_PG_TEXT_ARRAY; /* dates and numerics are text in JSON too */
    case 1005:
    case 1007:
    case 1016: return SH_PG_INT_ARRAY;
    case 2951: return SH_PG_UUID_ARRAY;
    default: return SH_PG_TEXT;
    }
}

static char *put_key(char *at, const char *name) {
    static const char hex[] = "0123456789abcdef";
    *at++ = '"';
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c < 0x20) {
            memcpy(at, "\\u00", 4);
            at[4] = hex[c >> 4];
            at[5] = hex[c & 15];
            at += 6;
            continue;
        }
        if (c == '"' || c == '\\') *at++ = '\\';
        *at++ = *name;
    }
    *at++ = '"';
    *at++ = ':';
    return at;
}

/* Rows and columns lie in one block. */
sh_pg_rows_t *sh_pg_rows_create(PGresult *result) {
    uint32_t count = (uint32_t)PQnfields(result);
    char *block = sh_alloc(sizeof(sh_pg_rows_t) + count * sizeof(sh_pg_column_t));
    sh_pg_rows_t *rows = (sh_pg_rows_t *)(void *)block;
    sh_pg_column_t *columns = (sh_pg_column_t *)(void *)(block + sizeof *rows);
    for (uint32_t i = 0; i < count; i++) columns[i] = (sh_pg_column_t){PQfname(result, (int)i), kind_of(PQftype(result, (int)i))};
    *rows = (sh_pg_rows_t){
        .result = result,
        .row_count = (uint32_t)PQntuples(result),
        .column_count = count,
        .affected = *PQcmdStatus(result) == 'S' ? 0 : (uint32_t)strtoul(PQcmdTuples(result), NULL, 10), /* not what a SELECT read */
        .retained = 1,
        .columns = columns,
    };
    return rows;
}

/* Keys and their texts lie in one block, too. */
const sh_str_t *sh_pg_rows_keys(sh_pg_rows_t *rows) {
    if (rows->keys) return rows->keys;
    uint32_t count = rows->column_count;
    size_t bytes = count * sizeof(sh_str_t);
    for (uint32_t i = 0; i < count; i++) bytes += KEY_GROWTH * strlen(rows->columns[i].name) + 3;
    sh_str_t *keys = sh_alloc(bytes);
    char *at = (char *)(keys + count);
    for (uint32_t i = 0; i < count; i++) {
        char *end = put_key(at, rows->columns[i].name);
        keys[i] = sh_str(at, (size_t)(end - at));
        at = end;
    }
    rows->keys = keys;
    return keys;
}

void sh_pg_rows_release(sh_pg_rows_t *rows) {
    if (!rows || --rows->retained) return;
    PQclear(rows->result);
    free(rows->keys);
    free(rows);
}

int sh_pg_rows_column(const sh_pg_rows_t *rows, sh_str_t name) {
    for (uint32_t i = 0; i < rows->column_count; i++) {
        const sh_pg_column_t *c = &rows->columns[i];
        if (c->name[0] != name.ptr[0]) continue; /* most end here */
        if (strncmp(c->name, name.ptr, name.len) == 0 && c->name[name.len] == 0) return (int)i;
    }
    return -1;
}

/* ---- values */

bool sh_pg_exact_integer(sh_str_t text, int64_t *out) {
    int64_t n = 0;
    if (text.len > EXACT_DIGITS) {
        if (sh_str_to_i64(text, &n) || n > 9007199254740991 || n < -9007199254740991) return false;
        *out = n;
        return true;
    }
    const char *p = text.ptr, *end = p + text.len; /* the usual case, without looking for overflow */
    bool is_negative = text.len && *p == '-';
    p += is_negative;
    if (p == end) return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return false;
        n = n * 10 + (*p - '0');
    }
    *out = is_negative ? -n : n;
    return true;
}

/* 2026-11-24 09:06:14.123456+00 */
void sh_pg_put_timestamptz(sh_buf_t *out, sh_str_t text) {
    if (text.len < 22 || text.len > 29 || text.len == 23 || text.ptr[4] != '-' || text.ptr[10] != ' ' ||
        memcmp(text.ptr + text.len - 3, "+00", 3) != 0) {
        sh_buf_put_str(out, text);
        return;
    }
    /* Postgres trims the fraction; it is always written with six digits, as shama.clock does, so that a time has one text. */
    static const char zeros[] = ".000000Z";
    char *to = sh_buf_reserve(out, 32);
    size_t n = text.len - 3;
    memcpy(to, text.ptr, n);
    to[10] = 'T';
    memcpy(to + n, zeros + (n > 19 ? n - 19 : 0), sizeof zeros - (n > 19 ? n - 19 : 0));
    out->len += SH_RFC3339_LEN;
}

static void put_plain(sh_buf_t *out, sh_str_t text) { /* of characters that need no escape */
    char *to = sh_buf_reserve(out, text.len + 2);
    to[0] = '"';
    memcpy(to + 1, text.ptr, text.len);
    to[text.len + 1] = '"';
    out->len += text.len + 2;
}

static void put_integer(sh_buf_t *out, sh_str_t text) {
    int64_t n;
    if (text.len <= EXACT_DIGITS || sh_pg_exact_integer(text, &n))
        sh_buf_put_str(out, text);
    else
        put_plain(out, text);
}

static void put_array(sh_buf_t *out, sh_str_t text, sh_pg_kind_t kind, int depth) {
    sh_pg_array_t array;
    sh_pg_item_t item;
    sh_buf_t scratch = {0};
    bool is_first = true;
    sh_pg_array_open(&array, text);
    sh_buf_put_byte(out, '[');
    while (sh_pg_array_next(&array, &scratch, &item)) {
        if (!is_first) sh_buf_put_byte(out, ',');
        is_first = false;
        if (item.is_null)
            sh_buf_put_lit(out, "null");
        else if (item.is_array && depth < ARRAY_DEPTH_MAX)
            put_array(out, item.text, kind, depth + 1);
        else if (kind == SH_PG_INT_ARRAY)
            put_integer(out, item.text);
        else if (kind == SH_PG_UUID_ARRAY)
            put_plain(out, item.text);
        else
            sh_buf_put_json(out, item.text);
    }
    sh_buf_put_byte(out, ']');
    sh_buf_dispose(&scratch);
}

static void put_value(sh_buf_t *out, sh_pg_kind_t kind, sh_str_t text) {
    switch (kind) {
    case SH_PG_BOOL:
        if (text.ptr[0] == 't')
            sh_buf_put_lit(out, "true");
        else
            sh_buf_put_lit(out, "false");
        break;
    case SH_PG_INT:
    case SH_PG_JSON: sh_buf_put_str(out, text); break;
    case SH_PG_BIGINT: put_integer(out, text); break;
    case SH_PG_FLOAT: /* JSON knows neither NaN nor Infinity */
        if (text.ptr[text.len - 1] >= '0' && text.ptr[text.len - 1] <= '9')
            sh_buf_put_str(out, text);
        else
            sh_buf_put_lit(out, "null");
        break;
    case SH_PG_NUMERIC:
    case SH_PG_UUID:
    case SH_PG_DATE: put_plain(out, text); break;
    case SH_PG_TIMESTAMPTZ:
        sh_buf_put_byte(out, '"');
        sh_pg_put_timestamptz(out, text);
        sh_buf_put_byte(out, '"');
        break;
    case SH_PG_TEXT_ARRAY:
    case SH_PG_INT_ARRAY:
    case SH_PG_UUID_ARRAY: put_array(out, text, kind, 1); break;
    case SH_PG_TEXT:
    case SH_PG_BYTEA: sh_buf_put_json(out, text); break;
    }
}

/* Asks libpq as little as it can: its accessors check their arguments each time. */
static inline void write_value(const sh_pg_rows_t *rows, uint32_t row, uint32_t column, sh_buf_t *out) {
    size_t len = (size_t)PQgetlength(rows->result, (int)row, (int)column);
    if (len == 0 && PQgetisnull(rows->result, (int)row, (int)column)) {
        sh_buf_put_lit(out, "null");
        return;
    }
    put_value(out, rows->columns[column].kind, sh_str(PQgetvalue(rows->result, (int)row, (int)column), len));
}

void sh_pg_rows_write_value(const sh_pg_rows_t *rows, uint32_t row, uint32_t column, sh_buf_t *out) { write_value(rows, row, column, out); }

void sh_pg_rows_write_row(sh_pg_rows_t *rows, uint32_t row, bool open, sh_buf_t *out) {
    const sh_str_t *keys = sh_pg_rows_keys(rows);
    char before = '{';
    for (uint32_t i = 0; i < rows->column_count; i++) {
        sh_str_t key = keys[i];
        char *to = sh_buf_reserve(out, key.len + 1);
        *to = before;
        memcpy(to + 1, key.ptr, key.len);
        out->len += key.len + 1;
        write_value(rows, row, i, out);
        before = ',';
    }
    if (before == '{') sh_buf_put_byte(out, '{');
    if (!open) sh_buf_put_byte(out, '}');
}

void sh_pg_rows_write_all(sh_pg_rows_t *rows, sh_buf_t *out) {
    sh_buf_put_byte(out, '[');
    for (uint32_t i = 0; i < rows->row_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        sh_pg_rows_write_row(rows, i, false, out);
    }
    sh_buf_put_byte(out, ']');
}

/* ---- arrays: PostgreSQL 15, 8.15.6 */

void sh_pg_array_open(sh_pg_array_t *array, sh_str_t text) {
    array->at = text.ptr;
    array->end = text.ptr + text.len;
    if (text.len && *array->at == '[') { /* [0:2]={...} */
        const char *open = memchr(text.ptr, '{', text.len);
        array->at = open ? open : array->end;
    }
    if (array->at < array->end) array->at++;
}

static void take_quoted(sh_pg_array_t *array, sh_buf_t *scratch, sh_pg_item_t *out) {
    const char *start = ++array->at;
    while (array->at < array->end && *array->at != '"' && *array->at != '\\') array->at++;
    out->text = sh_str(start, (size_t)(array->at - start));
    if (array->at < array->end && *array->at == '\\') {
        sh_buf_clear(scratch);
        sh_buf_put_str(scratch, out->text);
        while (array->at < array->end && *array->at != '"') {
            if (*array->at == '\\' && array->at + 1 < array->end) array->at++;
            sh_buf_put_byte(scratch, *array->at++);
        }
        out->text = sh_buf_str(scratch);
    }
    if (array->at < array->end) array->at++;
}

static void take_nested(sh_pg_array_t *array, sh_pg_item_t *out) {
    const char *start = array->at;
    int depth = 0;
    bool is_quoted = false;
    for (; array->at < array->end; array->at++) {
        if (*array->at == '\\')
            array->at++;
        else if (*array->at == '"')
            is_quoted = !is_quoted;
        else if (!is_quoted && *array->at == '{')
            depth++;
        else if (!is_quoted && *array->at == '}' && --depth == 0)
            break;
    }
    array->at = array->at < array->end ? array->at + 1 : array->end;
    out->text = sh_str(start, (size_t)(array->at - start));
    out->is_array = true;
}

bool sh_pg_array_next(sh_pg_array_t *array, sh_buf_t *scratch, sh_pg_item_t *out) {
    if (array->at < array->end && *array->at == ',') array->at++;
    if (array->at >= array->end || *array->at == '}') return false;
    *out = (sh_pg_item_t){0};
    if (*array->at == '"') {
        take_quoted(array, scratch, out);
    } else if (*array->at == '{') {
        take_nested(array, out);
    } else {
        const char *start = array->at;
        while (array->at < array->end && *array->at != ',' && *array->at != '}') array->at++;
        out->text = sh_str(start, (size_t)(array->at - start));
        out->is_null = sh_str_eq_nocase(out->text, SH_STR("NULL"));
    }
    return true;
}

/* What is to be escaped in an array's item, from `p` on: most items have nothing of it. */
static const char *next_escaped(const char *p, const char *end) {
    const char *quote = memchr(p, '"', (size_t)(end - p));
    if (quote) end = quote;
    const char *backslash = memchr(p, '\\', (size_t)(end - p));
    return backslash ? backslash : end;
}

void sh_pg_array_put_escaped(sh_buf_t *out, sh_str_t item) {
    const char *p = item.ptr, *end = item.ptr + item.len;
    sh_buf_reserve(out, item.len + 2);
    sh_buf_put_byte(out, '"');
    while (p < end) {
        const char *from = p;
        p = next_escaped(p, end);
        sh_buf_put(out, from, (size_t)(p - from));
        if (p < end) {
            sh_buf_put_byte(out, '\\');
            sh_buf_put_byte(out, *p++);
        }
    }
    sh_buf_put_byte(out, '"');
}

void sh_pg_array_put(sh_buf_t *out, sh_str_t item) {
    if (out->len && out->ptr[out->len - 1] != '{') sh_buf_put_byte(out, ',');
    if (!sh_buf_put_json_plain(out, item)) sh_pg_array_put_escaped(out, item); /* a text with nothing to escape is the same in both */
}
