/* The checks of path, query and body, each against the route's schema; and of the media types around them. */
#include "edge/input.h"

#include "base/err.h"

static const sh_schema_t nothing = {.type = SH_SCHEMA_OBJECT};

/* ---- media types */

bool sh_input_is_json(sh_str_t type) {
    size_t n = 0;
    while (n < type.len && type.ptr[n] != ';' && type.ptr[n] != ' ' && type.ptr[n] != '\t') n++;
    type.len = n;
    return sh_str_eq_nocase(type, SH_STR("application/json")) || sh_str_eq_nocase(type, SH_STR("application/merge-patch+json"));
}

bool sh_input_accepts(sh_str_t accept, const char *type) {
    sh_str_t whole = sh_str_of(type), range;
    sh_str_t family = sh_str(type, strcspn(type, "/;") + 1); /* "application/" */
    int q, exact = -1, wide = -1, any = -1;
    whole.len = strcspn(type, ";");
    if (!accept.len) return true;
    while (sh_problem_next_range(&accept, &range, &q)) {
        if (sh_str_eq_nocase(range, whole))
            exact = q > exact ? q : exact;
        else if (sh_str_eq_c(range, "*/*"))
            any = q > any ? q : any;
        else if (range.len == family.len + 1 && range.ptr[family.len] == '*' && sh_str_eq_nocase(sh_str(range.ptr, family.len), family))
            wide = q > wide ? q : wide;
    }
    return (exact >= 0 ? exact : wide >= 0 ? wide : any) > 0;
}

/* ---- path and query */

static bool check_params(sh_exchange_t *x, sh_schema_report_t *report) {
    const sh_route_t *route = x->match.route;
    for (uint32_t i = 0; i < route->param_count; i++) {
        sh_json_value_t value = {.kind = SH_JSON_STRING, .text = x->match.params[i]};
        uint32_t before = report->count;
        if (sh_schema_check(route->param_schemas[i], &value, false, report) != SH_OK)
            for (uint32_t k = before; k < report->count; k++) report->issues[k].pointer = sh_str_of(route->params[i]);
        x->call.params[i] = value.text;
    }
    if (!report->count) return true;
    sh_exchange_refuse(x, 400, "INVALID_PATH", sh_problem_errors(report, x->caller.language));
    return false;
}

static sh_str_t take_pair(sh_str_t *rest) {
    const char *end = memchr(rest->ptr, '&', rest->len);
    sh_str_t part = sh_str(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
    *rest = end ? sh_str(end + 1, rest->len - part.len - 1) : SH_STR_NULL;
    return part;
}

static bool parse_query(sh_exchange_t *x, sh_schema_pair_t *pairs, uint32_t *count) {
    sh_str_t rest = x->request->query;
    sh_arena_t *arena = &x->request->arena;
    *count = 0;
    while (rest.len) {
        sh_str_t part = take_pair(&rest);
        if (!part.len) continue;
        if (*count == SH_QUERY_PAIRS_MAX) return false;
        const char *equals = memchr(part.ptr, '=', part.len);
        sh_str_t name = sh_str(part.ptr, equals ? (size_t)(equals - part.ptr) : part.len);
        sh_str_t value = equals ? sh_str(equals + 1, part.len - name.len - 1) : SH_STR("");
        sh_schema_pair_t *pair = &pairs[(*count)++];
        if (sh_http_query_decode(arena, name, &pair->name) != SH_OK || sh_http_query_decode(arena, value, &pair->value) != SH_OK) return false;
    }
    return true;
}

static bool check_query(sh_exchange_t *x, sh_schema_report_t *report) {
    const sh_schema_t *schema = x->match.route->query;
    sh_schema_pair_t pairs[SH_QUERY_PAIRS_MAX];
    uint32_t count;
    sh_json_value_t *query;
    if (!schema && !x->request->query.len) return true;
    if (!parse_query(x, pairs, &count)) {
        sh_exchange_refuse(x, 400, "QUERY_MALFORMED", SH_STR_NULL);
        return false;
    }
    if (sh_schema_check_query(schema ? schema : &nothing, pairs, count, report, &query) != SH_OK) {
        sh_exchange_refuse(x, 400, "INVALID_QUERY", sh_problem_errors(report, x->caller.language));
        return false;
    }
    x->call.query = schema ? query : NULL;
    return true;
}

/* ---- body */

/* The body's value, {} for none; NULL when the request was refused. */
static sh_json_value_t *read_body(sh_exchange_t *x) {
    sh_http_request_t *request = x->request;
    const sh_route_t *route = x->match.route;
    sh_json_value_t *body;
    sh_json_error_t error;
    if (!request->body.len) {
        if (route->body && !route->body_optional) {
            sh_exchange_refuse(x, 400, "BODY_MISSING", SH_STR_NULL);
            return NULL;
        }
        body = SH_ARENA_NEW(&request->arena, sh_json_value_t);
        body->kind = SH_JSON_OBJECT;
        return body;
    }
    if (!sh_input_is_json(request->content_type)) {
        sh_exchange_refuse(x, 415, "UNSUPPORTED_MEDIA_TYPE", SH_STR_NULL);
        return NULL;
    }
    if (sh_json_read(&request->arena, request->body, SH_JSON_LIMITS_DEFAULT, &body, &error) != SH_OK) {
        sh_exchange_refuse(x, 400, "MALFORMED_JSON", sh_problem_json_errors(&error, x->caller.language, &request->arena));
        return NULL;
    }
    return body;
}

static bool are_all_unknown(const sh_schema_report_t *report) {
    for (uint32_t i = 0; i < report->count; i++)
        if (strcmp(report->issues[i].code, "UNKNOWN_FIELD") != 0) return false;
    return true;
}

static bool check_body(sh_exchange_t *x, sh_schema_report_t *report) {
    const sh_route_t *route = x->match.route;
    sh_json_value_t *body = read_body(x);
    if (!body) return false;
    if (sh_schema_check(route->body ? route->body : &nothing, body, route->partial, report) != SH_OK) {
        const char *code = are_all_unknown(report) ? "UNKNOWN_FIELD" : "INVALID_BODY";
        sh_exchange_refuse(x, 400, code, sh_problem_errors(report, x->caller.language));
        return false;
    }
    x->call.body = route->body ? body : NULL;
    return true;
}

bool sh_input_check(sh_exchange_t *x) {
    sh_schema_report_t report; /* 1.6 KB of it need no zeroing */
    report.arena = &x->request->arena;
    report.count = 0;
    return check_params(x, &report) && check_query(x, &report) && check_body(x, &report);
}
