/* From the Lua table of a document to sh_pdf_doc_t: strict, and every refusal names its place.
 *
 * What a kind of block may hold is a list of fields (name, type, where it goes), so a new option is one line. Tables of rules may be
 * frozen; they are read raw, so no metamethod runs here. */
#include "base/err.h"
#include "base/time.h"
#include "bind/lua_decimal.h"
#include "bind/lua_pdf.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

enum { PATH_MAX_BYTES = 160, TEXT_BYTES_MAX = 4 << 20, BLOCKS_MAX = 10000, POINTS_MAX = 5000, LUA_STACK_LEVEL = 12 };

typedef struct reader {
    lua_State *L;
    const sh_lua_pdf_brand_t *brand;
    sh_arena_t *arena;
    sh_pdf_error_t *err;
    char path[PATH_MAX_BYTES];
    size_t text_bytes, blocks, rows;
    int depth;
} reader_t;

typedef enum field_type { FIELD_TEXT, FIELD_POINTS, FIELD_BOOL, FIELD_COLOR, FIELD_ALIGN, FIELD_OTHER, FIELD_KNOWN } field_type_t;

/* `read` gets the value on top of the stack (already melted) and the same `into` as the others. */
typedef struct field {
    const char *name;
    field_type_t type;
    size_t offset;
    bool is_required;
    int (*read)(reader_t *r, void *into);
} field_t;

static int refuse(reader_t *r, int code, const char *fmt, ...) SH_PRINTF(3, 4);
static int read_blocks(reader_t *r, const sh_pdf_block_t **blocks, size_t *count);

static int refuse(reader_t *r, int code, const char *fmt, ...) {
    char reason[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    r->err->code = code;
    snprintf(r->err->message, sizeof r->err->message, "%.90s: %s", r->path[0] ? r->path : "description", reason);
    return code;
}

/* ---- places */

static size_t enter(reader_t *r, const char *name) {
    size_t at = strlen(r->path);
    snprintf(r->path + at, sizeof r->path - at, "%s%.40s", at ? "." : "", name);
    return at;
}

static size_t enter_index(reader_t *r, size_t i) {
    size_t at = strlen(r->path);
    snprintf(r->path + at, sizeof r->path - at, "[%zu]", i);
    return at;
}

static void leave(reader_t *r, size_t at) { r->path[at] = 0; }

/* ---- values on top of the stack */

static int read_text(reader_t *r, sh_str_t *out) {
    lua_State *L = r->L;
    char digits[SH_DECIMAL_TEXT_MAX];
    sh_decimal_t decimal;
    sh_str_t text;
    if (lua_type(L, -1) == LUA_TSTRING) {
        text.ptr = lua_tolstring(L, -1, &text.len);
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
        double n = lua_tonumber(L, -1);
        if (n != floor(n) || fabs(n) > 9007199254740992.0) return refuse(r, SH_EINVAL, "a number with a fraction; write it as a text or a decimal");
        text = sh_str(digits, (size_t)snprintf(digits, sizeof digits, "%.0f", n));
    } else if (sh_lua_decimal_test(L, -1, &decimal)) {
        text = sh_str(digits, sh_decimal_format(decimal, digits));
    } else {
        return refuse(r, SH_EINVAL, "a text was expected, got %s", luaL_typename(L, -1));
    }
    r->text_bytes += text.len;
    if (r->text_bytes > TEXT_BYTES_MAX) return refuse(r, SH_ELIMIT, "the texts have more than %d bytes together", TEXT_BYTES_MAX);
    *out = sh_arena_str(r->arena, text);
    return SH_OK;
}

static int read_points(reader_t *r, float *out) {
    double n = lua_type(r->L, -1) == LUA_TNUMBER ? lua_tonumber(r->L, -1) : -1;
    if (!(n >= 0 && n <= POINTS_MAX)) return refuse(r, SH_EINVAL, "a number of points from 0 to %d was expected", POINTS_MAX);
    *out = (float)n;
    return SH_OK;
}

static int read_align(reader_t *r, sh_pdf_align_t *out) {
    static const char *const names[] = {"left", "center", "right"};
    const char *text = lua_type(r->L, -1) == LUA_TSTRING ? lua_tostring(r->L, -1) : "";
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (sh_pdf_align_t)i;
        return SH_OK;
    }
    return refuse(r, SH_EINVAL, "\"left\", \"center\" or \"right\" was expected");
}

int sh_lua_pdf_color_parse(const char *text, sh_pdf_color_t *out) {
    uint8_t digits[6];
    if (!text || text[0] != '#' || strlen(text) != 7) return SH_EINVAL;
    for (int i = 0; i < 6; i++) {
        char c = text[i + 1];
        if (c >= '0' && c <= '9')
            digits[i] = (uint8_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digits[i] = (uint8_t)((c | 0x20) - 'a' + 10);
        else
            return SH_EINVAL;
    }
    *out =
        (sh_pdf_color_t){(uint8_t)(digits[0] << 4 | digits[1]), (uint8_t)(digits[2] << 4 | digits[3]), (uint8_t)(digits[4] << 4 | digits[5]), true};
    return SH_OK;
}

static float linear(uint8_t channel) {
    float c = (float)channel / 255.0f;
    return c <= 0.04045f ? c / 12.92f : powf((c + 0.055f) / 1.055f, 2.4f);
}

/* Black or white, whichever has more contrast (relative luminance of WCAG 2). */
static sh_pdf_color_t readable_on(sh_pdf_color_t c) {
    float luminance = 0.2126f * linear(c.r) + 0.7152f * linear(c.g) + 0.0722f * linear(c.b);
    return luminance > 0.179f ? (sh_pdf_color_t){0x1a, 0x1a, 0x1a, true} : (sh_pdf_color_t){0xff, 0xff, 0xff, true};
}

static int find_color(const sh_lua_pdf_brand_t *brand, const char *name, sh_pdf_color_t *out) {
    const struct {
        const char *name;
        sh_pdf_color_t color;
    } named[] = {
        {"primary", brand->primary},
        {"secondary", brand->secondary},
        {"on_primary", readable_on(brand->primary)},
        {"on_secondary", readable_on(brand->secondary)},
        {"text", {0x22, 0x22, 0x22, true}},
        {"muted", {0x6b, 0x6b, 0x6b, true}},
        {"line", {0xd9, 0xd7, 0xd3, true}},
        {"light", {0xf6, 0xf5, 0xf2, true}},
        {"white", {0xff, 0xff, 0xff, true}},
        {"black", {0, 0, 0, true}},
        {"none", {0}},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(named); i++) {
        if (strcmp(named[i].name, name) != 0) continue;
        *out = named[i].color;
        return SH_OK;
    }
    return sh_lua_pdf_color_parse(name, out);
}

static sh_pdf_color_t color(const reader_t *r, const char *name) {
    sh_pdf_color_t c = {0};
    int rc = find_color(r->brand, name, &c);
    SH_ASSERT(rc == 0);
    return c;
}

static int read_color(reader_t *r, sh_pdf_color_t *out) {
    if (lua_type(r->L, -1) == LUA_TSTRING && find_color(r->brand, lua_tostring(r->L, -1), out) == SH_OK) return SH_OK;
    return refuse(r, SH_EINVAL, "a colour was expected: \"#rrggbb\", \"primary\", \"secondary\", \"text\", \"muted\", \"light\", ...");
}

/* ---- tables */

static void melt_top(lua_State *L) {
    if (sh_vm_melt(L, -1)) lua_remove(L, -2);
}

static int read_field(reader_t *r, const field_t *f, void *into) {
    void *to = (char *)into + f->offset;
    if (f->type == FIELD_TEXT) return read_text(r, to);
    if (f->type == FIELD_POINTS) return read_points(r, to);
    if (f->type == FIELD_COLOR) return read_color(r, to);
    if (f->type == FIELD_ALIGN) return read_align(r, to);
    if (f->type == FIELD_OTHER) return f->read(r, into);
    if (f->type == FIELD_BOOL) {
        if (!lua_isboolean(r->L, -1)) return refuse(r, SH_EINVAL, "true or false was expected");
        *(bool *)to = lua_toboolean(r->L, -1);
    }
    return SH_OK;
}

static int refuse_key(reader_t *r, const field_t *fields, size_t count) {
    const char *names[32];
    if (lua_type(r->L, -2) != LUA_TSTRING) return refuse(r, SH_EINVAL, "a key that is no text");
    const char *key = lua_tostring(r->L, -2);
    SH_ASSERT(count <= SH_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++) names[i] = fields[i].name;
    const char *near = sh_str_nearest(key, names, count);
    if (near) return refuse(r, SH_EINVAL, "unknown key \"%.40s\" (did you mean \"%s\"?)", key, near);
    return refuse(r, SH_EINVAL, "unknown key \"%.40s\"", key);
}

/* Reads the table on top of the stack. */
static int read_object(reader_t *r, const field_t *fields, size_t count, void *into) {
    lua_State *L = r->L;
    uint32_t seen = 0;
    if (!lua_istable(L, -1)) return refuse(r, SH_EINVAL, "a table was expected, got %s", luaL_typename(L, -1));
    luaL_checkstack(L, LUA_STACK_LEVEL, "pdf");
    int top = lua_gettop(L), rc = SH_OK;
    for (lua_pushnil(L); lua_next(L, top); lua_settop(L, top + 1)) {
        size_t i = 0;
        if (lua_type(L, -2) != LUA_TSTRING) i = count;
        while (i < count && strcmp(fields[i].name, lua_tostring(L, -2)) != 0) i++;
        if (i == count) return refuse_key(r, fields, count);
        seen |= UINT32_C(1) << i;
        size_t at = enter(r, fields[i].name);
        melt_top(L);
        rc = read_field(r, &fields[i], into);
        if (rc) return rc;
        leave(r, at);
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].is_required && !(seen & UINT32_C(1) << i)) return refuse(r, SH_EINVAL, "\"%s\" is missing", fields[i].name);
    return SH_OK;
}

/* The length of the list on top of the stack; keys that are no list's are refused, but for `allowed`. */
static int list_length(reader_t *r, const char *allowed, size_t max, size_t *out) {
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) return refuse(r, SH_EINVAL, "a list was expected, got %s", luaL_typename(L, -1));
    luaL_checkstack(L, LUA_STACK_LEVEL, "pdf");
    size_t n = lua_objlen(L, -1), found = 0;
    int top = lua_gettop(L);
    if (n > max) return refuse(r, SH_ELIMIT, "more than %zu entries", max);
    for (lua_pushnil(L); lua_next(L, top); lua_settop(L, top + 1)) {
        if (lua_type(L, -2) == LUA_TNUMBER)
            found++;
        else if (!allowed || lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), allowed) != 0)
            return refuse(r, SH_EINVAL, "a list was expected, but it has a key \"%.40s\"",
                          lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?");
    }
    if (found != n) return refuse(r, SH_EINVAL, "the list has a hole");
    *out = n;
    return SH_OK;
}

/* Pushes entry i (from 1) of the list on top, melted. */
static size_t push_entry(reader_t *r, size_t i) {
    lua_rawgeti(r->L, -1, (int)i);
    melt_top(r->L);
    return enter_index(r, i);
}

/* ---- blocks */

static int read_pair_rows(reader_t *r, void *into) {
    sh_pdf_block_t *block = into;
    size_t n, cells;
    int rc = list_length(r, NULL, SH_PDF_ROWS_MAX, &n);
    if (rc) return rc;
    sh_pdf_pair_t *rows = sh_arena_calloc(r->arena, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        size_t at = push_entry(r, i + 1);
        rc = list_length(r, "strong", 2, &cells);
        if (rc == SH_OK && cells != 2) rc = refuse(r, SH_EINVAL, "a label and a value were expected");
        for (size_t k = 0; k < 2 && rc == SH_OK; k++) {
            size_t cell_at = push_entry(r, k + 1);
            rc = read_text(r, k ? &rows[i].value : &rows[i].label);
            if (rc == SH_OK) leave(r, cell_at);
            lua_pop(r->L, 1);
        }
        if (rc) return rc;
        lua_pushliteral(r->L, "strong");
        lua_rawget(r->L, -2);
        rows[i].strong = lua_toboolean(r->L, -1);
        lua_pop(r->L, 2);
        leave(r, at);
    }
    block->as.pairs.rows = rows;
    block->as.pairs.row_count = n;
    return SH_OK;
}

static int read_table_columns(reader_t *r, void *into) {
    static const field_t fields[] = {
        {"title", FIELD_TEXT, offsetof(sh_pdf_column_t, title), false, NULL},
        {"width", FIELD_POINTS, offsetof(sh_pdf_column_t, width), false, NULL},
        {"weight", FIELD_POINTS, offsetof(sh_pdf_column_t, weight), false, NULL},
        {"align", FIELD_ALIGN, offsetof(sh_pdf_column_t, align), false, NULL},
    };
    sh_pdf_block_t *block = into;
    size_t n;
    int rc = list_length(r, NULL, SH_PDF_COLUMNS_MAX, &n);
    if (rc) return rc;
    sh_pdf_column_t *columns = sh_arena_calloc(r->arena, n * sizeof *columns);
    for (size_t i = 0; i < n; i++) {
        size_t at = push_entry(r, i + 1);
        rc = read_object(r, fields, SH_ARRAY_LEN(fields), &columns[i]);
        if (rc) return rc;
        lua_pop(r->L, 1);
        leave(r, at);
    }
    block->as.table.columns = columns;
    block->as.table.column_count = n;
    return SH_OK;
}

/* After the columns are known. The list of rows is on top. */
static int read_table_rows(reader_t *r, sh_pdf_block_t *block) {
    size_t n, cells, columns = block->as.table.column_count;
    int rc = list_length(r, NULL, SH_PDF_ROWS_MAX - r->rows, &n);
    if (rc) return rc;
    r->rows += n;
    sh_str_t *to = sh_arena_calloc(r->arena, (n * columns + 1) * sizeof *to);
    block->as.table.cells = to;
    block->as.table.row_count = n;
    for (size_t i = 0; i < n; i++) {
        size_t at = push_entry(r, i + 1);
        rc = list_length(r, NULL, SH_PDF_COLUMNS_MAX, &cells);
        if (rc == SH_OK && cells != columns) rc = refuse(r, SH_EINVAL, "the table has %zu columns, the row %zu cells", columns, cells);
        for (size_t k = 0; k < columns && rc == SH_OK; k++) {
            size_t cell_at = push_entry(r, k + 1);
            rc = read_text(r, to++);
            if (rc == SH_OK) leave(r, cell_at);
            lua_pop(r->L, 1);
        }
        if (rc) return rc;
        lua_pop(r->L, 1);
        leave(r, at);
    }
    return SH_OK;
}

static int read_stack_blocks(reader_t *r, void *into) {
    sh_pdf_stack_t *stack = into;
    return read_blocks(r, &stack->blocks, &stack->block_count);
}

static int read_stacks(reader_t *r, void *into) {
    static const field_t fields[] = {
        {"width", FIELD_POINTS, offsetof(sh_pdf_stack_t, width), false, NULL},
        {"weight", FIELD_POINTS, offsetof(sh_pdf_stack_t, weight), false, NULL},
        {"blocks", FIELD_OTHER, 0, true, read_stack_blocks},
    };
    sh_pdf_block_t *block = into;
    size_t n;
    if (r->depth >= SH_PDF_NESTING_MAX) return refuse(r, SH_ELIMIT, "columns within columns go %d deep", SH_PDF_NESTING_MAX);
    int rc = list_length(r, NULL, SH_PDF_COLUMNS_MAX, &n);
    if (rc) return rc;
    sh_pdf_stack_t *stacks = sh_arena_calloc(r->arena, n * sizeof *stacks);
    r->depth++;
    for (size_t i = 0; i < n; i++) {
        size_t at = push_entry(r, i + 1);
        rc = read_object(r, fields, SH_ARRAY_LEN(fields), &stacks[i]);
        if (rc) return rc;
        lua_pop(r->L, 1);
        leave(r, at);
    }
    r->depth--;
    block->as.columns.stacks = stacks;
    block->as.columns.stack_count = n;
    return SH_OK;
}

#define AT(member) offsetof(sh_pdf_block_t, member)
#define COMMON                                                                                                                                       \
    {"kind", FIELD_KNOWN, 0, true, NULL}, {"space_before", FIELD_POINTS, AT(space_before), false, NULL}, {                                           \
        "space_after", FIELD_POINTS, AT(space_after), false, NULL                                                                                    \
    }

static const field_t text_fields[] = {
    COMMON,
    {"text", FIELD_TEXT, AT(as.text.text), true, NULL},
    {"size", FIELD_POINTS, AT(as.text.style.size), false, NULL},
    {"bold", FIELD_BOOL, AT(as.text.style.bold), false, NULL},
    {"align", FIELD_ALIGN, AT(as.text.style.align), false, NULL},
    {"color", FIELD_COLOR, AT(as.text.style.color), false, NULL},
};
static const field_t pairs_fields[] = {
    COMMON,
    {"rows", FIELD_OTHER, 0, true, read_pair_rows},
    {"size", FIELD_POINTS, AT(as.pairs.size), false, NULL},
    {"width", FIELD_POINTS, AT(as.pairs.width), false, NULL},
    {"label_width", FIELD_POINTS, AT(as.pairs.label_width), false, NULL},
    {"label_color", FIELD_COLOR, AT(as.pairs.label_color), false, NULL},
    {"background", FIELD_COLOR, AT(as.pairs.background), false, NULL},
    {"color", FIELD_COLOR, AT(as.pairs.color), false, NULL},
};
static const field_t table_fields[] = {
    COMMON,
    {"columns", FIELD_OTHER, 0, true, read_table_columns},
    {"rows", FIELD_KNOWN, 0, true, NULL}, /* read after the columns */
    {"size", FIELD_POINTS, AT(as.table.size), false, NULL},
    {"head_background", FIELD_COLOR, AT(as.table.head_background), false, NULL},
    {"head_color", FIELD_COLOR, AT(as.table.head_color), false, NULL},
    {"stripe", FIELD_COLOR, AT(as.table.stripe), false, NULL},
    {"line", FIELD_COLOR, AT(as.table.line), false, NULL},
};
static const field_t columns_fields[] = {
    COMMON,
    {"columns", FIELD_OTHER, 0, true, read_stacks},
    {"gap", FIELD_POINTS, AT(as.columns.gap), false, NULL},
    {"padding", FIELD_POINTS, AT(as.columns.padding), false, NULL},
    {"background", FIELD_COLOR, AT(as.columns.background), false, NULL},
    {"bleed", FIELD_BOOL, AT(as.columns.bleed), false, NULL},
};
static const field_t rule_fields[] = {
    COMMON,
    {"color", FIELD_COLOR, AT(as.rule.color), false, NULL},
    {"thickness", FIELD_POINTS, AT(as.rule.thickness), false, NULL},
};
static const field_t spacer_fields[] = {COMMON, {"height", FIELD_POINTS, AT(as.spacer.height), true, NULL}};
static const field_t page_break_fields[] = {COMMON};

static const struct block_kind {
    const char *name;
    sh_pdf_block_kind_t kind;
    const field_t *fields;
    size_t count;
} kinds[] = {
    {"heading", SH_PDF_TEXT, text_fields, SH_ARRAY_LEN(text_fields)},
    {"text", SH_PDF_TEXT, text_fields, SH_ARRAY_LEN(text_fields)},
    {"pairs", SH_PDF_PAIRS, pairs_fields, SH_ARRAY_LEN(pairs_fields)},
    {"totals", SH_PDF_TOTALS, pairs_fields, SH_ARRAY_LEN(pairs_fields)},
    {"table", SH_PDF_TABLE, table_fields, SH_ARRAY_LEN(table_fields)},
    {"columns", SH_PDF_COLUMNS, columns_fields, SH_ARRAY_LEN(columns_fields)},
    {"rule", SH_PDF_RULE, rule_fields, SH_ARRAY_LEN(rule_fields)},
    {"spacer", SH_PDF_SPACER, spacer_fields, SH_ARRAY_LEN(spacer_fields)},
    {"page_break", SH_PDF_PAGE_BREAK, page_break_fields, SH_ARRAY_LEN(page_break_fields)},
};

static void set_defaults(const reader_t *r, const struct block_kind *kind, sh_pdf_block_t *block) {
    block->kind = kind->kind;
    if (strcmp(kind->name, "heading") == 0) {
        block->as.text.style = (sh_pdf_style_t){.size = 13, .bold = true, .color = color(r, "text")};
        block->as.text.keep_with_next = true;
        block->space_before = 6;
        block->space_after = 3;
    } else if (kind->kind == SH_PDF_PAIRS || kind->kind == SH_PDF_TOTALS) {
        block->as.pairs.label_color = color(r, "muted");
        block->as.pairs.background = color(r, "primary");
        block->as.pairs.color = color(r, "on_primary");
    } else if (kind->kind == SH_PDF_TABLE) {
        block->as.table.head_background = color(r, "secondary");
        block->as.table.head_color = color(r, "on_secondary");
        block->as.table.stripe = color(r, "light");
        block->as.table.line = color(r, "line");
    } else if (kind->kind == SH_PDF_COLUMNS) {
        block->as.columns.gap = 18;
    }
}

static int read_block(reader_t *r, sh_pdf_block_t *block) {
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) return refuse(r, SH_EINVAL, "a block (a table with \"kind\") was expected, got %s", luaL_typename(L, -1));
    if (++r->blocks > BLOCKS_MAX) return refuse(r, SH_ELIMIT, "more than %d blocks", BLOCKS_MAX);
    lua_pushliteral(L, "kind");
    lua_rawget(L, -2);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    size_t i = 0;
    while (i < SH_ARRAY_LEN(kinds) && strcmp(kinds[i].name, name) != 0) i++;
    if (i == SH_ARRAY_LEN(kinds))
        return refuse(r, SH_EINVAL, "unknown kind \"%.40s\": heading, text, pairs, totals, table, columns, rule, spacer or page_break", name);
    lua_pop(L, 1);
    set_defaults(r, &kinds[i], block);
    int rc = read_object(r, kinds[i].fields, kinds[i].count, block);
    if (rc || block->kind != SH_PDF_TABLE) return rc;
    lua_pushliteral(L, "rows");
    lua_rawget(L, -2);
    melt_top(L);
    size_t at = enter(r, "rows");
    rc = read_table_rows(r, block);
    if (rc) return rc;
    lua_pop(L, 1);
    leave(r, at);
    return SH_OK;
}

static int read_blocks(reader_t *r, const sh_pdf_block_t **blocks, size_t *count) {
    size_t n;
    int rc = list_length(r, NULL, BLOCKS_MAX, &n);
    if (rc) return rc;
    sh_pdf_block_t *list = sh_arena_calloc(r->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        size_t at = push_entry(r, i + 1);
        rc = read_block(r, &list[i]);
        if (rc) return rc;
        lua_pop(r->L, 1);
        leave(r, at);
    }
    *blocks = list;
    *count = n;
    return SH_OK;
}

/* ---- the document */

static int read_doc_blocks(reader_t *r, void *into) {
    sh_pdf_doc_t *doc = into;
    return read_blocks(r, &doc->blocks, &doc->block_count);
}

static int read_created_at(reader_t *r, void *into) {
    sh_pdf_doc_t *doc = into;
    sh_str_t text = SH_STR_NULL;
    if (lua_type(r->L, -1) == LUA_TSTRING) text.ptr = lua_tolstring(r->L, -1, &text.len);
    if (!text.ptr || sh_time_parse(text, &doc->created_us)) return refuse(r, SH_EINVAL, "a time like \"2026-11-24T09:00:00Z\" was expected");
    return SH_OK;
}

static int read_paper(reader_t *r, void *into) {
    sh_pdf_doc_t *doc = into;
    const char *name = lua_type(r->L, -1) == LUA_TSTRING ? lua_tostring(r->L, -1) : "";
    bool is_a4 = strcmp(name, "A4") == 0;
    if (!is_a4 && strcmp(name, "letter") != 0) return refuse(r, SH_EINVAL, "\"A4\" or \"letter\" was expected");
    doc->width = is_a4 ? 595.28f : 612;
    doc->height = is_a4 ? 841.89f : 792;
    return SH_OK;
}

static int read_margins(reader_t *r, void *into) {
    static const field_t fields[] = {
        {"top", FIELD_POINTS, offsetof(sh_pdf_doc_t, margin_top), false, NULL},
        {"right", FIELD_POINTS, offsetof(sh_pdf_doc_t, margin_right), false, NULL},
        {"bottom", FIELD_POINTS, offsetof(sh_pdf_doc_t, margin_bottom), false, NULL},
        {"left", FIELD_POINTS, offsetof(sh_pdf_doc_t, margin_left), false, NULL},
    };
    return read_object(r, fields, SH_ARRAY_LEN(fields), into);
}

static int read_running(reader_t *r, void *into) {
    static const field_t fields[] = {
        {"left", FIELD_TEXT, offsetof(sh_pdf_doc_t, running_left), false, NULL},
        {"right", FIELD_TEXT, offsetof(sh_pdf_doc_t, running_right), false, NULL},
    };
    return read_object(r, fields, SH_ARRAY_LEN(fields), into);
}

int sh_lua_pdf_read(lua_State *L, int index, const sh_lua_pdf_brand_t *brand, sh_arena_t *arena, sh_pdf_doc_t *out, sh_pdf_error_t *err) {
    static const field_t fields[] = {
        {"title", FIELD_TEXT, offsetof(sh_pdf_doc_t, title), false, NULL},
        {"author", FIELD_TEXT, offsetof(sh_pdf_doc_t, author), false, NULL},
        {"subject", FIELD_TEXT, offsetof(sh_pdf_doc_t, subject), false, NULL},
        {"language", FIELD_TEXT, offsetof(sh_pdf_doc_t, language), false, NULL},
        {"created_at", FIELD_OTHER, 0, true, read_created_at},
        {"paper", FIELD_OTHER, 0, false, read_paper},
        {"margins", FIELD_OTHER, 0, false, read_margins},
        {"size", FIELD_POINTS, offsetof(sh_pdf_doc_t, size), false, NULL},
        {"color", FIELD_COLOR, offsetof(sh_pdf_doc_t, color), false, NULL},
        {"running", FIELD_OTHER, 0, false, read_running},
        {"footer", FIELD_TEXT, offsetof(sh_pdf_doc_t, footer), false, NULL},
        {"page_label", FIELD_TEXT, offsetof(sh_pdf_doc_t, page_label), false, NULL},
        {"watermark", FIELD_TEXT, offsetof(sh_pdf_doc_t, watermark), false, NULL},
        {"watermark_color", FIELD_COLOR, offsetof(sh_pdf_doc_t, watermark_color), false, NULL},
        {"blocks", FIELD_OTHER, 0, true, read_doc_blocks},
    };
    reader_t r = {.L = L, .brand = brand, .arena = arena, .err = err};
    int top = lua_gettop(L);
    sh_pdf_doc_t doc = {.width = 595.28f, .height = 841.89f, .margin_top = 48, .margin_right = 48, .margin_bottom = 54, .margin_left = 48, .size = 9};
    doc.color = color(&r, "text");
    doc.muted = color(&r, "muted");
    doc.line = color(&r, "line");
    lua_pushvalue(L, index);
    melt_top(L);
    int rc = read_object(&r, fields, SH_ARRAY_LEN(fields), &doc);
    lua_settop(L, top);
    if (rc == SH_OK) *out = doc;
    return rc;
}
