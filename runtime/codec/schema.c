/* The check of values against schemas, and its sentences.
 *
 * The way to a value is a chain of frames on the C stack; it is spelled out as a JSON pointer only when something is wrong. */
#include "codec/schema.h"

#include "base/err.h"
#include "base/time.h"

enum {
    SCALE_MAX = 6,
    MONEY_DIGITS_MAX = 8,  /* before the point: DECIMAL(10,2) */
    EMAIL_BYTES_MAX = 254, /* RFC 5321, 4.5.3.1.3 */
    EMAIL_LOCAL_MAX = 64,
    CHOICES_SHOWN_MAX = 20,
    SEEN_BITS = 64,
};

#define INTEGER_MAX INT64_C(9007199254740991) /* 2^53 - 1: what a double holds exactly (RFC 8259, 6) */

typedef struct frame {
    const struct frame *parent;
    sh_str_t name; /* of a member; ptr NULL: an item of an array */
    uint32_t index;
} frame_t;

static void check(const sh_schema_t *schema, sh_json_value_t *value, bool partial, const frame_t *at, sh_schema_report_t *report);

/* ---- issues */

static void put_pointer(sh_buf_t *out, const frame_t *at) {
    if (!at) return;
    put_pointer(out, at->parent);
    sh_buf_put_byte(out, '/');
    if (!at->name.ptr) return sh_buf_put_u64(out, at->index);
    for (size_t i = 0; i < at->name.len && out->len <= SH_SCHEMA_POINTER_MAX; i++) {
        char c = at->name.ptr[i];
        if (c == '~')
            sh_buf_put_lit(out, "~0");
        else if (c == '/')
            sh_buf_put_lit(out, "~1");
        else
            sh_buf_put_byte(out, c);
    }
}

/* Keeps at most SH_SCHEMA_POINTER_MAX bytes and no broken character. */
static sh_str_t keep_pointer(sh_arena_t *arena, sh_str_t text) {
    if (text.len <= SH_SCHEMA_POINTER_MAX) return sh_arena_str(arena, text);
    size_t n = SH_SCHEMA_POINTER_MAX - 3;
    while (n && ((unsigned char)text.ptr[n] & 0xc0) == 0x80) n--;
    return sh_str_of(sh_arena_printf(arena, "%.*s...", (int)n, text.ptr));
}

static void add_issue(sh_schema_report_t *report, sh_str_t pointer, const char *code, const sh_schema_t *schema) {
    if (report->count == SH_SCHEMA_ISSUES_MAX) return;
    report->issues[report->count++] = (sh_schema_issue_t){keep_pointer(report->arena, pointer), code, schema};
}

static void refuse(sh_schema_report_t *report, const frame_t *at, const char *code, const sh_schema_t *schema) {
    if (report->count == SH_SCHEMA_ISSUES_MAX) return;
    sh_buf_t pointer = {0};
    put_pointer(&pointer, at);
    add_issue(report, sh_buf_str(&pointer), code, schema);
    sh_buf_dispose(&pointer);
}

/* ---- scalars: each returns NULL, or the code of what is wrong */

static size_t characters(sh_str_t s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

static const char *check_string(const sh_schema_t *schema, sh_str_t text) {
    if (schema->choices) {
        for (uint32_t i = 0; i < schema->choice_count; i++)
            if (sh_str_eq(text, schema->choices[i])) return NULL;
        return "ENUM";
    }
    if (!schema->has_min && !schema->has_max) return NULL;
    int64_t n = (int64_t)characters(text);
    if (schema->has_min && n < schema->min) return "MIN_LENGTH";
    return schema->has_max && n > schema->max ? "MAX_LENGTH" : NULL;
}

static int64_t integer_min(const sh_schema_t *s) { return s->has_min ? s->min : -INTEGER_MAX; }
static int64_t integer_max(const sh_schema_t *s) { return s->has_max ? s->max : INTEGER_MAX; }

static const char *check_integer(const sh_schema_t *schema, const sh_json_value_t *v) {
    if (v->kind == SH_JSON_NUMBER) { /* an integer beyond int64, or no integer */
        for (size_t i = 0; i < v->text.len; i++)
            if (v->text.ptr[i] == '.' || v->text.ptr[i] == 'e' || v->text.ptr[i] == 'E') return "TYPE";
        return v->f64 < 0 ? "MIN" : "MAX";
    }
    if (v->kind != SH_JSON_INTEGER) return "TYPE";
    if (v->i64 < integer_min(schema)) return "MIN";
    return v->i64 > integer_max(schema) ? "MAX" : NULL;
}

static int scale_of(const sh_schema_t *s) { return s->scale < 0 ? 0 : s->scale > SCALE_MAX ? SCALE_MAX : s->scale; }

static const char *decimal_code(const sh_schema_t *s) { return s->type == SH_SCHEMA_MONEY ? "MONEY" : "DECIMAL"; }

/* Reads "-12.5" as units of 10^-scale; false when it is not written so. At most 8 + 6 digits: no overflow. */
static bool decimal_units(sh_str_t s, int scale, bool *negative, int64_t *units) {
    size_t i = 0, digits = 0;
    int64_t n = 0;
    int places = 0;
    *negative = s.len && s.ptr[0] == '-';
    if (*negative) i = 1;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++, digits++) {
        if (digits == MONEY_DIGITS_MAX || (digits == 1 && n == 0)) return false;
        n = n * 10 + (s.ptr[i] - '0');
    }
    if (!digits) return false;
    if (i < s.len) {
        if (s.ptr[i++] != '.') return false;
        for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
            if (++places > scale) return false;
            n = n * 10 + (s.ptr[i] - '0');
        }
        if (i < s.len || !places) return false;
    }
    for (; places < scale; places++) n *= 10;
    *units = *negative ? -n : n;
    return true;
}

/* Writes units with all their places into `out` (at least 32 bytes); returns the length. */
static size_t format_units(int64_t units, int scale, char *out) {
    char digits[24];
    size_t n = 0, len = 0;
    uint64_t rest = units < 0 ? 0 - (uint64_t)units : (uint64_t)units;
    while (rest || (int)n <= scale) digits[n++] = (char)('0' + rest % 10), rest /= 10;
    if (units < 0) out[len++] = '-';
    while (n) {
        out[len++] = digits[--n];
        if (scale && (int)n == scale) out[len++] = '.';
    }
    return len;
}

static const char *check_decimal(const sh_schema_t *schema, sh_json_value_t *v, sh_arena_t *arena) {
    bool negative;
    int64_t units;
    char text[32];
    int scale = scale_of(schema);
    if (!decimal_units(v->text, scale, &negative, &units)) return decimal_code(schema);
    if (negative && !(schema->has_min && schema->min < 0)) return schema->has_min ? "MIN" : decimal_code(schema);
    if (schema->has_min && units < schema->min) return "MIN";
    if (schema->has_max && units > schema->max) return "MAX";
    size_t len = format_units(units, scale, text);
    if (!sh_str_eq(v->text, sh_str(text, len))) v->text = sh_arena_str(arena, sh_str(text, len));
    return NULL;
}

static const char *check_uuid(sh_json_value_t *v, sh_arena_t *arena) {
    if (!sh_str_is_uuid(v->text)) return "UUID";
    for (size_t i = 0; i < v->text.len; i++) {
        if (v->text.ptr[i] < 'A' || v->text.ptr[i] > 'F') continue;
        char *lower = sh_arena_alloc(arena, v->text.len);
        for (size_t j = 0; j < v->text.len; j++) lower[j] = (char)(v->text.ptr[j] | 0x20); /* '-' and digits have the bit already */
        v->text.ptr = lower;
        break;
    }
    return NULL;
}

static bool is_year_zero(sh_str_t s) { return memcmp(s.ptr, "0000", 4) == 0; }

static const char *check_timestamp(sh_json_value_t *v, sh_arena_t *arena) {
    static const int64_t first = INT64_C(-62135596800000000), last = INT64_C(253402300799999999); /* 0001-01-01 to 9999-12-31 in UTC */
    int64_t us;
    if (sh_time_parse(v->text, &us) != SH_OK || us < first || us > last) return "TIMESTAMP";
    char *text = sh_arena_alloc(arena, SH_RFC3339_LEN);
    sh_time_format(us, text);
    v->text = sh_str(text, SH_RFC3339_LEN);
    return NULL;
}

static bool is_domain(sh_str_t s) {
    bool has_dot = false;
    char before = '.';
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i], low = (char)(c | 0x20);
        bool plain = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '.') return false;
        if (before == '.' && !plain) return false; /* a label begins with '-', or is empty */
        if (c == '.' && before == '-') return false;
        has_dot |= c == '.';
        before = c;
    }
    return has_dot && before != '.' && before != '-';
}

static const char *check_email(sh_str_t s) {
    const char *at = s.len ? memchr(s.ptr, '@', s.len) : NULL;
    if (!at || s.len > EMAIL_BYTES_MAX) return "EMAIL";
    size_t local = (size_t)(at - s.ptr);
    if (!local || local > EMAIL_LOCAL_MAX || s.ptr[0] == '.' || s.ptr[local - 1] == '.') return "EMAIL";
    for (size_t i = 0; i < local; i++) {
        char c = s.ptr[i];
        if (c <= ' ' || c > '~' || strchr("\"(),:;<>[\\]", c) || (c == '.' && s.ptr[i + 1] == '.')) return "EMAIL";
    }
    return is_domain(sh_str(at + 1, s.len - local - 1)) ? NULL : "EMAIL";
}

static const char *check_text(const sh_schema_t *schema, sh_json_value_t *v, sh_arena_t *arena) {
    if (v->kind != SH_JSON_STRING) return "TYPE";
    switch (schema->type) {
    case SH_SCHEMA_STRING: return check_string(schema, v->text);
    case SH_SCHEMA_MONEY:
    case SH_SCHEMA_DECIMAL: return check_decimal(schema, v, arena);
    case SH_SCHEMA_UUID: return check_uuid(v, arena);
    case SH_SCHEMA_DATE: return sh_time_is_date(v->text) && !is_year_zero(v->text) ? NULL : "DATE";
    case SH_SCHEMA_TIMESTAMP: return check_timestamp(v, arena);
    default: return check_email(v->text);
    }
}

/* ---- arrays and objects */

static void check_array(const sh_schema_t *schema, sh_json_value_t *v, const frame_t *at, sh_schema_report_t *report) {
    if (v->kind != SH_JSON_ARRAY) return refuse(report, at, "TYPE", schema);
    if (schema->has_min && v->count < schema->min) return refuse(report, at, "MIN_ITEMS", schema);
    if (schema->has_max && v->count > schema->max) return refuse(report, at, "MAX_ITEMS", schema);
    if (!schema->items) return;
    /* An array in a patch replaces the whole old one (RFC 7396), so its items are complete. */
    for (uint32_t i = 0; i < v->count && report->count < SH_SCHEMA_ISSUES_MAX; i++)
        check(schema->items, &v->items[i], false, &(frame_t){.parent = at, .index = i}, report);
}

static int64_t field_index(const sh_schema_t *schema, sh_str_t name) {
    for (uint32_t i = 0; i < schema->field_count; i++)
        if (sh_str_eq(schema->fields[i].name, name)) return i;
    return -1;
}

/* Which fields were there: a word for ordinary schemas, else bytes in the arena. */
typedef struct seen {
    uint64_t bits;
    bool *wide;
} seen_t;

static seen_t seen_make(const sh_schema_t *schema, sh_arena_t *arena) {
    return (seen_t){0, schema->field_count > SEEN_BITS ? sh_arena_calloc(arena, schema->field_count) : NULL};
}
static void seen_set(seen_t *s, uint32_t i) {
    if (s->wide)
        s->wide[i] = true;
    else
        s->bits |= UINT64_C(1) << i;
}
static bool seen_has(const seen_t *s, uint32_t i) { return s->wide ? s->wide[i] : s->bits >> i & 1; }

/* Names the required fields that are missing and appends the defaults of the others. `members` has room for `count` and all fields. */
static void finish_object(const sh_schema_t *schema, sh_json_value_t *v, const seen_t *seen, const frame_t *at, sh_schema_report_t *report) {
    uint32_t extra = 0;
    for (uint32_t i = 0; i < schema->field_count; i++) {
        const sh_schema_field_t *f = &schema->fields[i];
        if (seen_has(seen, i)) continue;
        if (f->fallback)
            extra++;
        else if (f->required)
            refuse(report, &(frame_t){.parent = at, .name = f->name}, "REQUIRED", f->schema);
    }
    if (!extra) return;
    sh_json_member_t *members = sh_arena_alloc(report->arena, (v->count + extra) * sizeof *members);
    if (v->count) memcpy(members, v->members, v->count * sizeof *members);
    for (uint32_t i = 0; i < schema->field_count; i++)
        if (!seen_has(seen, i) && schema->fields[i].fallback)
            members[v->count++] = (sh_json_member_t){schema->fields[i].name, *schema->fields[i].fallback};
    v->members = members;
}

static void check_object(const sh_schema_t *schema, sh_json_value_t *v, bool partial, const frame_t *at, sh_schema_report_t *report) {
    if (v->kind != SH_JSON_OBJECT) return refuse(report, at, "TYPE", schema);
    seen_t seen = seen_make(schema, report->arena);
    for (uint32_t i = 0; i < v->count && report->count < SH_SCHEMA_ISSUES_MAX; i++) {
        sh_json_member_t *m = &v->members[i];
        frame_t here = {.parent = at, .name = m->key.ptr ? m->key : SH_STR("")};
        int64_t index = field_index(schema, m->key);
        if (index < 0) {
            refuse(report, &here, "UNKNOWN_FIELD", NULL);
            continue;
        }
        seen_set(&seen, (uint32_t)index);
        check(schema->fields[index].schema, &m->value, partial, &here, report);
    }
    if (!partial) finish_object(schema, v, &seen, at, report);
}

static void check(const sh_schema_t *schema, sh_json_value_t *v, bool partial, const frame_t *at, sh_schema_report_t *report) {
    const char *code = NULL;
    if (v->kind == SH_JSON_NULL && schema->nullable) return;
    switch (schema->type) {
    case SH_SCHEMA_ANY: return;
    case SH_SCHEMA_ARRAY: check_array(schema, v, at, report); return;
    case SH_SCHEMA_OBJECT: check_object(schema, v, partial, at, report); return;
    case SH_SCHEMA_INTEGER: code = check_integer(schema, v); break;
    case SH_SCHEMA_BOOLEAN: code = v->kind == SH_JSON_TRUE || v->kind == SH_JSON_FALSE ? NULL : "TYPE"; break;
    default: code = check_text(schema, v, report->arena); break;
    }
    if (code) refuse(report, at, code, schema);
}

int sh_schema_check(const sh_schema_t *schema, sh_json_value_t *value, bool partial, sh_schema_report_t *report) {
    check(schema, value, partial, NULL, report);
    return report->count ? SH_EINVAL : SH_OK;
}

/* ---- queries */

/* The text as the JSON value that its field wants; what cannot be one stays a string, and the check says TYPE. */
static sh_json_value_t query_value(const sh_schema_t *schema, sh_str_t text) {
    sh_json_value_t v = {.kind = SH_JSON_STRING, .text = text};
    if (schema->type == SH_SCHEMA_INTEGER && sh_str_to_i64(text, &v.i64) == SH_OK) v.kind = SH_JSON_INTEGER;
    if (schema->type == SH_SCHEMA_BOOLEAN && sh_str_eq_c(text, "true")) v.kind = SH_JSON_TRUE;
    if (schema->type == SH_SCHEMA_BOOLEAN && sh_str_eq_c(text, "false")) v.kind = SH_JSON_FALSE;
    return v;
}

static void name_issues(sh_schema_report_t *report, uint32_t from, sh_str_t name) {
    for (uint32_t i = from; i < report->count; i++) report->issues[i].pointer = keep_pointer(report->arena, name);
}

int sh_schema_check_query(const sh_schema_t *schema, const sh_schema_pair_t *pairs, uint32_t count, sh_schema_report_t *report,
                          sh_json_value_t **out) {
    seen_t seen = seen_make(schema, report->arena);
    sh_json_value_t *object = SH_ARENA_NEW(report->arena, sh_json_value_t);
    object->kind = SH_JSON_OBJECT;
    if (schema->field_count) object->members = sh_arena_alloc(report->arena, schema->field_count * sizeof *object->members);
    for (uint32_t i = 0; i < count && report->count < SH_SCHEMA_ISSUES_MAX; i++) {
        int64_t index = field_index(schema, pairs[i].name);
        if (index < 0 || seen_has(&seen, (uint32_t)index)) {
            add_issue(report, pairs[i].name, index < 0 ? "UNKNOWN_FIELD" : "REPEATED", NULL);
            continue;
        }
        seen_set(&seen, (uint32_t)index);
        const sh_schema_field_t *f = &schema->fields[index];
        sh_json_member_t *m = &object->members[object->count++];
        *m = (sh_json_member_t){f->name, query_value(f->schema, pairs[i].value)};
        uint32_t before = report->count;
        check(f->schema, &m->value, false, NULL, report);
        name_issues(report, before, f->name);
    }
    for (uint32_t i = 0; i < schema->field_count; i++) {
        const sh_schema_field_t *f = &schema->fields[i];
        if (seen_has(&seen, i)) continue;
        if (f->fallback)
            object->members[object->count++] = (sh_json_member_t){f->name, *f->fallback};
        else if (f->required)
            add_issue(report, f->name, "REQUIRED", f->schema);
    }
    if (report->count) return SH_EINVAL;
    *out = object;
    return SH_OK;
}

/* ---- sentences */

typedef struct speaker {
    sh_buf_t out;
    bool english;
} speaker_t;

static void say(speaker_t *s, const char *es, const char *en) { sh_buf_put_c(&s->out, s->english ? en : es); }

/* "entre 1 y 5", "como mínimo 1", "como máximo 5", or nothing; numbers are shown with `scale` places. */
static void say_range(speaker_t *s, bool has_min, int64_t min, bool has_max, int64_t max, int scale) {
    char low[32], high[32];
    size_t low_len = format_units(min, scale, low), high_len = format_units(max, scale, high);
    if (has_min && has_max && min != max) {
        say(s, " entre ", " between ");
        sh_buf_put(&s->out, low, low_len);
        say(s, " y ", " and ");
        sh_buf_put(&s->out, high, high_len);
    } else if (has_min && has_max) {
        say(s, " igual a ", " equal to ");
        sh_buf_put(&s->out, low, low_len);
    } else if (has_min) {
        say(s, " mayor o igual que ", " greater than or equal to ");
        sh_buf_put(&s->out, low, low_len);
    } else if (has_max) {
        say(s, " menor o igual que ", " less than or equal to ");
        sh_buf_put(&s->out, high, high_len);
    }
}

static void say_count(speaker_t *s, int64_t n, const char *es_one, const char *es_many, const char *en_one, const char *en_many) {
    sh_buf_put_i64(&s->out, n);
    if (n == 1)
        say(s, es_one, en_one);
    else
        say(s, es_many, en_many);
}

static void say_decimal_form(speaker_t *s, const sh_schema_t *schema) {
    int scale = scale_of(schema);
    bool money = schema->type == SH_SCHEMA_MONEY;
    say(s,
        money ? "debe ser un importe escrito como texto, con hasta 8 cifras enteras"
              : "debe ser un número decimal escrito como texto, con hasta 8 cifras enteras",
        money ? "must be an amount written as text, with at most 8 digits before the point"
              : "must be a decimal number written as text, with at most 8 digits before the point");
    if (scale) {
        say(s, " y ", " and ");
        say_count(s, scale, " decimal", " decimales", " after it", " after it");
    }
    say(s, money ? ", por ejemplo \"1234.50\"" : ", por ejemplo \"12.5\"", money ? ", for example \"1234.50\"" : ", for example \"12.5\"");
}

static void say_choices(speaker_t *s, const sh_schema_t *schema) {
    say(s, schema->choice_count == 1 ? "debe ser " : "debe ser uno de estos valores: ", schema->choice_count == 1 ? "must be " : "must be one of: ");
    for (uint32_t i = 0; i < schema->choice_count && i < CHOICES_SHOWN_MAX; i++) {
        if (i) sh_buf_put_lit(&s->out, ", ");
        sh_buf_put_str(&s->out, schema->choices[i]);
    }
    if (schema->choice_count > CHOICES_SHOWN_MAX) sh_buf_put_lit(&s->out, ", ...");
}

/* What the schema wants, whatever was wrong: for TYPE and for values outside a range. */
static void say_wanted(speaker_t *s, const sh_schema_t *schema) {
    switch (schema->type) {
    case SH_SCHEMA_ANY: say(s, "no es válido", "is not valid"); break;
    case SH_SCHEMA_STRING: say(s, "debe ser un texto", "must be a string"); break;
    case SH_SCHEMA_INTEGER:
        say(s, "debe ser un entero", "must be an integer");
        say_range(s, schema->has_min, schema->min, schema->has_max, schema->max, 0);
        break;
    case SH_SCHEMA_BOOLEAN: say(s, "debe ser true o false", "must be true or false"); break;
    case SH_SCHEMA_MONEY:
    case SH_SCHEMA_DECIMAL: say_decimal_form(s, schema); break;
    case SH_SCHEMA_UUID: say(s, "debe ser un identificador UUID", "must be a UUID"); break;
    case SH_SCHEMA_DATE: say(s, "debe ser una fecha que exista, con la forma AAAA-MM-DD", "must be a date that exists, written as YYYY-MM-DD"); break;
    case SH_SCHEMA_TIMESTAMP:
        say(s, "debe ser una fecha con hora (RFC 3339), por ejemplo \"2026-01-31T09:30:00Z\"",
            "must be a date and time (RFC 3339), for example \"2026-01-31T09:30:00Z\"");
        break;
    case SH_SCHEMA_EMAIL:
        say(s, "debe ser una dirección de correo válida, por ejemplo \"ana@ejemplo.com\"",
            "must be a valid e-mail address, for example \"ana@example.com\"");
        break;
    case SH_SCHEMA_ARRAY: say(s, "debe ser una lista", "must be a list"); break;
    case SH_SCHEMA_OBJECT: say(s, "debe ser un objeto", "must be an object"); break;
    }
}

static void say_out_of_range(speaker_t *s, const sh_schema_t *schema) {
    if (schema->type == SH_SCHEMA_INTEGER) {
        say(s, "debe ser un entero", "must be an integer");
        say_range(s, true, integer_min(schema), true, integer_max(schema), 0);
        return;
    }
    bool money = schema->type == SH_SCHEMA_MONEY;
    say(s, money ? "debe ser un importe" : "debe ser un número", money ? "must be an amount" : "must be a number");
    say_range(s, schema->has_min, schema->min, schema->has_max, schema->max, scale_of(schema));
}

static void say_length(speaker_t *s, const char *code, const sh_schema_t *schema) {
    bool least = memcmp(code, "MIN", 3) == 0, items = strstr(code, "ITEMS") != NULL;
    int64_t n = least ? schema->min : schema->max;
    if (least && n == 1) {
        say(s, "no puede estar ", "must not be empty");
        say(s, items ? "vacía" : "vacío", "");
        return;
    }
    say(s, least ? "debe tener al menos " : "debe tener como máximo ", least ? "must have at least " : "must have at most ");
    if (items)
        say_count(s, n, " elemento", " elementos", " item", " items");
    else
        say_count(s, n, " carácter", " caracteres", " character", " characters");
}

static void say_issue(speaker_t *s, const char *code, const sh_schema_t *schema) {
    if (strcmp(code, "REQUIRED") == 0)
        say(s, "es obligatorio", "is required");
    else if (strcmp(code, "UNKNOWN_FIELD") == 0)
        say(s, "no es un campo conocido", "is not a known field");
    else if (strcmp(code, "REPEATED") == 0)
        say(s, "está repetido", "is given more than once");
    else if (!schema)
        say(s, "no es válido", "is not valid");
    else if (strcmp(code, "ENUM") == 0)
        say_choices(s, schema);
    else if (strcmp(code, "MIN") == 0 || strcmp(code, "MAX") == 0)
        say_out_of_range(s, schema);
    else if (strstr(code, "_LENGTH") || strstr(code, "_ITEMS"))
        say_length(s, code, schema);
    else
        say_wanted(s, schema);
}

sh_str_t sh_schema_issue_text(const sh_schema_issue_t *issue, const char *language, sh_arena_t *arena) {
    speaker_t s = {.english = language && strcmp(language, "en") == 0};
    say_issue(&s, issue->code, issue->schema);
    sh_str_t text = sh_arena_str(arena, sh_buf_str(&s.out));
    sh_buf_dispose(&s.out);
    return text;
}
