/* What a body, a query or a path may hold: a tree of types, checked against JSON values or against query text.
 *
 * A rule module declares schemas as data; host/manifest compiles them into this tree once a load. The check finds every
 * bad field at once, refuses unknown ones, and changes values in place into their canonical form:
 * UUIDs become lower case, money and decimals get all their places ("5" -> "5.00"), timestamps become UTC
 * ("2026-11-24T09:06:14.000000Z"), and defaults are filled in. */
#ifndef SH_SCHEMA_H
#define SH_SCHEMA_H

#include "codec/json.h"

typedef enum sh_schema_type {
    SH_SCHEMA_ANY,     /* any JSON value */
    SH_SCHEMA_STRING,  /* length in characters between min and max; enum; pattern is not supported */
    SH_SCHEMA_INTEGER, /* JSON integer (no 1.5, no 1e3, no "1"); between min and max, which are +-(2^53 - 1) where none is given */
    SH_SCHEMA_BOOLEAN,
    SH_SCHEMA_MONEY,   /* JSON string "1234.50": 1..8 digits before and at most `scale` after the point; min/max in units of 10^-scale;
                          a '-' before it only where min is below 0 */
    SH_SCHEMA_DECIMAL, /* the same with scale up to 6: percentages, rates */
    SH_SCHEMA_UUID,
    SH_SCHEMA_DATE,      /* YYYY-MM-DD that exists, years 0001 to 9999 (Postgres has no year 0) */
    SH_SCHEMA_TIMESTAMP, /* RFC 3339, years 0001 to 9999 */
    SH_SCHEMA_EMAIL,     /* practical: local@domain in ASCII, <= 254 bytes, no spaces or controls, a dot in the domain */
    SH_SCHEMA_ARRAY,     /* of `items`, min..max of them */
    SH_SCHEMA_OBJECT,    /* of `fields`; unknown ones refused */
} sh_schema_type_t;

typedef struct sh_schema sh_schema_t;

typedef struct sh_schema_field {
    sh_str_t name;
    const sh_schema_t *schema;
    bool required;
    const sh_json_value_t *fallback; /* used when the field is absent, or NULL */
} sh_schema_field_t;

struct sh_schema {
    sh_schema_type_t type;
    bool nullable;
    bool has_min, has_max;
    int64_t min, max;        /* value, length or count, by type */
    int scale;               /* MONEY (2), DECIMAL */
    const sh_str_t *choices; /* STRING: an enum, or NULL */
    uint32_t choice_count;
    const sh_schema_t *items;
    const sh_schema_field_t *fields;
    uint32_t field_count;
};

/* One bad field. `pointer` is a JSON pointer (RFC 6901) for bodies ("/items/0/quantity") or the parameter's name.
 * `code` is stable: REQUIRED UNKNOWN_FIELD REPEATED TYPE MIN MAX MIN_LENGTH MAX_LENGTH MIN_ITEMS MAX_ITEMS ENUM UUID DATE TIMESTAMP
 * MONEY DECIMAL EMAIL. A pointer longer than SH_SCHEMA_POINTER_MAX bytes (the sender picks unknown names) ends in "...". */
typedef struct sh_schema_issue {
    sh_str_t pointer;
    const char *code;
    const sh_schema_t *schema; /* for the message: its limits and choices; NULL for UNKNOWN_FIELD */
} sh_schema_issue_t;

enum { SH_SCHEMA_ISSUES_MAX = 50, SH_SCHEMA_POINTER_MAX = 200 };

typedef struct sh_schema_report {
    sh_arena_t *arena; /* where pointers and new values live */
    sh_schema_issue_t issues[SH_SCHEMA_ISSUES_MAX];
    uint32_t count; /* further issues are not recorded */
} sh_schema_report_t;

/* Checks `value` and rewrites it in place as said above. `partial` (PATCH): no field is required and no default filled, but
 * null is allowed where the field is nullable. SH_EINVAL when report->count > 0. */
int sh_schema_check(const sh_schema_t *schema, sh_json_value_t *value, bool partial, sh_schema_report_t *report) SH_MUSTCHECK;

typedef struct sh_schema_pair {
    sh_str_t name, value; /* decoded */
} sh_schema_pair_t;

/* The same for query parameters: `schema` is an OBJECT of scalar fields; texts are converted ("50" -> INTEGER, "true" -> BOOLEAN).
 * A repeated or unknown name is an issue. `out` becomes an object in the report's arena. */
int sh_schema_check_query(const sh_schema_t *schema, const sh_schema_pair_t *pairs, uint32_t count, sh_schema_report_t *report,
                          sh_json_value_t **out) SH_MUSTCHECK;

/* A message for an issue in "es" or "en", into the arena: "debe ser un entero entre 1 y 100000". */
sh_str_t sh_schema_issue_text(const sh_schema_issue_t *issue, const char *language, sh_arena_t *arena);

#endif
