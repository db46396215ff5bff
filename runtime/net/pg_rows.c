/* Column kinds by OID, and rows as JSON straight from libpq's memory. */
#include "net/pg_rows.h"

#include <stdlib.h>

/* OIDs of pg_type.dat; they are fixed for built-in types. */
enum {
    OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_JSON = 114, OID_FLOAT4 = 700, OID_FLOAT8 = 701,
    OID_INT4_ARRAY = 1007, OID_TEXT_ARRAY = 1009, OID_VARCHAR_ARRAY = 1015, OID_DATE = 1082, OID_TIMESTAMPTZ = 1184, OID_NUMERIC = 1700,
    OID_UUID = 2950, OID_UUID_ARRAY = 2951, OID_JSONB = 3802,
};
static const int64_t SAFE_INTEGER_MAX = 9007199254740991; /* 2^53 - 1: up to here a double is exact */

static sh_pg_kind_t kind_of(Oid oid) {
    switch (oid) {
    case OID_BOOL: return SH_PG_BOOL;
    case OID_INT2: case OID_INT4: return SH_PG_INT;
    case OID_INT8: return SH_PG_BIGINT;
    case OID_NUMERIC: return SH_PG_NUMERIC;
    case OID_FLOAT4: case OID_FLOAT8: return SH_PG_FLOAT;
    case OID_UUID: return SH_PG_UUID;
    case OID_DATE: return SH_PG_DATE;
    case OID_TIMESTAMPTZ: return SH_PG_TIMESTAMPTZ;
    case OID_JSON: case OID_JSONB: return SH_PG_JSON;
    case OID_BYTEA: return SH_PG_BYTEA;
    case OID_TEXT_ARRAY: case OID_VARCHAR_ARRAY: return SH_PG_TEXT_ARRAY;
    case OID_INT4_ARRAY: return SH_PG_INT_ARRAY;
    case OID_UUID_ARRAY: return SH_PG_UUID_ARRAY;
    default: return SH_PG_TEXT;
    }
}

sh_pg_rows_t *sh_pg_rows_create(PGresult *result) {
    uint32_t columns = (uint32_t)PQnfields(result);
    size_t keys = 0;
    for (uint32_t i = 0; i < columns; i++) keys += strlen(PQfname(result, (int)i)) * 6 + 3;
    sh_pg_rows_t *rows = sh_alloc(sizeof *rows + columns * sizeof(sh_pg_column_t) + keys);
    sh_pg_column_t *list = (sh_pg_column_t *)(rows + 1);
    char *at = (char *)(list + columns);
    const char *affected = PQcmdTuples(result);
    *rows = (sh_pg_rows_t){.result = result, .row_count = (uint32_t)PQntuples(result), .column_count = columns, .retained = 1, .columns = list,
                           .affected = (uint32_t)strtoul(affected, NULL, 10)};
    for (uint32_t i = 0; i < columns; i++) {
        const char *name = PQfname(result, (int)i);
        size_t n = strlen(name);
        bool plain = true;
        for (size_t k = 0; k < n && plain; k++) plain = (unsigned char)name[k] >= 0x20 && name[k] != '"' && name[k] != '\\' && name[k] != 0x7f;
        list[i].name = name;
        list[i].kind = kind_of(PQftype(result, (int)i));
        if (plain) {
            list[i].json_key = sh_str(at, n + 3);
            *at++ = '"';
            memcpy(at, name, n);
            at += n;
            *at++ = '"';
            *at++ = ':';
        } else {
            sh_buf_t key = {0};
            sh_buf_put_json(&key, sh_str(name, n));
            sh_buf_put_byte(&key, ':');
            memcpy(at, key.ptr, key.len);
            list[i].json_key = sh_str(at, key.len);
            at += key.len;
            sh_buf_dispose(&key);
        }
    }
    return rows;
}

void sh_pg_rows_release(sh_pg_rows_t *rows) {
    if (!rows || --rows->retained) return;
    PQclear(rows->result);
    free(rows);
}

int sh_pg_rows_column(const sh_pg_rows_t *rows, sh_str_t name) {
    for (uint32_t i = 0; i < rows->column_count; i++)
        if (sh_str_eq_c(name, rows->columns[i].name)) return (int)i;
    return -1;
}

static void put_quoted(sh_buf_t *out, sh_str_t s) {
    char *p = sh_buf_reserve(out, s.len + 2);
    p[0] = '"';
    memcpy(p + 1, s.ptr, s.len);
    p[s.len + 1] = '"';
    out->len += s.len + 2;
}

void sh_pg_put_timestamptz(sh_buf_t *out, sh_str_t s) {
    if (s.len < 22 || s.ptr[10] != ' ' || memcmp(s.ptr + s.len - 3, "+00", 3) != 0) {
        sh_buf_put_str(out, s);
        return;
    }
    char *p = sh_buf_reserve(out, s.len);
    memcpy(p, s.ptr, s.len - 3);
    p[10] = 'T';
    p[s.len - 3] = 'Z';
    out->len += s.len - 2;
}

static void put_timestamp(sh_buf_t *out, sh_str_t s) {
    sh_buf_put_byte(out, '"');
    sh_pg_put_timestamptz(out, s);
    sh_buf_put_byte(out, '"');
}

bool sh_pg_exact_integer(sh_str_t text, int64_t *out) {
    int64_t n;
    if (sh_str_to_i64(text, &n) || n > SAFE_INTEGER_MAX || n < -SAFE_INTEGER_MAX) return false;
    *out = n;
    return true;
}

void sh_pg_array_open(sh_pg_array_t *array, sh_str_t text) {
    bool is_array = text.len >= 2 && text.ptr[0] == '{' && text.ptr[text.len - 1] == '}';
    array->at = is_array ? text.ptr + 1 : text.ptr + text.len;
    array->end = is_array ? text.ptr + text.len - 1 : text.ptr + text.len;
}

/* The end of a nested array that begins at `p`. */
static const char *skip_nested(const char *p, const char *end) {
    int depth = 0;
    for (bool quoted = false; p < end; p++) {
        if (*p == '\\' && p + 1 < end) p++;
        else if (*p == '"') quoted = !quoted;
        else if (!quoted && *p == '{') depth++;
        else if (!quoted && *p == '}' && --depth == 0) return p + 1;
    }
    return end;
}

bool sh_pg_array_next(sh_pg_array_t *array, sh_buf_t *scratch, sh_pg_item_t *out) {
    const char *p = array->at, *end = array->end;
    if (p >= end) return false;
    *out = (sh_pg_item_t){0};
    if (*p == '{') {
        const char *from = p;
        p = skip_nested(p, end);
        out->is_array = true;
        out->text = sh_str(from, (size_t)(p - from));
    } else if (*p == '"') {
        sh_buf_clear(scratch);
        for (p++; p < end && *p != '"'; p++) {
            if (*p == '\\' && p + 1 < end) p++;
            sh_buf_put_byte(scratch, *p);
        }
        if (p < end) p++;
        out->text = sh_str(scratch->ptr ? scratch->ptr : "", scratch->len);
    } else {
        const char *from = p;
        while (p < end && *p != ',') p++;
        out->text = sh_str(from, (size_t)(p - from));
        out->is_null = sh_str_eq_c(out->text, "NULL");
    }
    array->at = p < end && *p == ',' ? p + 1 : p;
    return true;
}

static void put_array(sh_buf_t *out, sh_str_t s, bool quoted) {
    sh_pg_array_t array;
    sh_pg_item_t item;
    sh_buf_t scratch = {0};
    bool first = true;
    sh_buf_put_byte(out, '[');
    for (sh_pg_array_open(&array, s); sh_pg_array_next(&array, &scratch, &item); first = false) {
        if (!first) sh_buf_put_byte(out, ',');
        if (item.is_null) sh_buf_put_lit(out, "null");
        else if (item.is_array) put_array(out, item.text, quoted);
        else if (quoted) sh_buf_put_json(out, item.text);
        else sh_buf_put_str(out, item.text);
    }
    sh_buf_put_byte(out, ']');
    sh_buf_dispose(&scratch);
}

static void put_float(sh_buf_t *out, sh_str_t s) {
    bool finite = s.len && (s.ptr[s.len - 1] >= '0' && s.ptr[s.len - 1] <= '9');
    if (finite) sh_buf_put_str(out, s);
    else put_quoted(out, s); /* NaN, Infinity */
}

void sh_pg_rows_write_value(const sh_pg_rows_t *rows, uint32_t row, uint32_t column, sh_buf_t *out) {
    if (sh_pg_rows_is_null(rows, row, column)) {
        sh_buf_put_lit(out, "null");
        return;
    }
    sh_str_t s = sh_pg_rows_text(rows, row, column);
    switch (rows->columns[column].kind) {
    case SH_PG_BOOL: sh_buf_put_str(out, s.ptr[0] == 't' ? SH_STR("true") : SH_STR("false")); break;
    case SH_PG_INT: case SH_PG_JSON: sh_buf_put_str(out, s); break;
    case SH_PG_BIGINT:
        if (sh_pg_exact_integer(s, &(int64_t){0})) sh_buf_put_str(out, s);
        else put_quoted(out, s);
        break;
    case SH_PG_FLOAT: put_float(out, s); break;
    case SH_PG_NUMERIC: case SH_PG_UUID: case SH_PG_DATE: case SH_PG_BYTEA:
        if (rows->columns[column].kind == SH_PG_BYTEA) sh_buf_put_json(out, s);
        else put_quoted(out, s);
        break;
    case SH_PG_TIMESTAMPTZ: put_timestamp(out, s); break;
    case SH_PG_TEXT_ARRAY: case SH_PG_UUID_ARRAY: put_array(out, s, true); break;
    case SH_PG_INT_ARRAY: put_array(out, s, false); break;
    default: sh_buf_put_json(out, s);
    }
}

void sh_pg_rows_write_row(const sh_pg_rows_t *rows, uint32_t row, bool open, sh_buf_t *out) {
    sh_buf_put_byte(out, '{');
    for (uint32_t i = 0; i < rows->column_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        sh_buf_put_str(out, rows->columns[i].json_key);
        sh_pg_rows_write_value(rows, row, i, out);
    }
    if (!open) sh_buf_put_byte(out, '}');
}

void sh_pg_rows_write_all(const sh_pg_rows_t *rows, sh_buf_t *out) {
    sh_buf_put_byte(out, '[');
    for (uint32_t i = 0; i < rows->row_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        sh_pg_rows_write_row(rows, i, false, out);
    }
    sh_buf_put_byte(out, ']');
}
