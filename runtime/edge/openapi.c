/* The document is written straight from the tables that route and check requests, so it cannot tell anything else than they do. */
#include "edge/openapi.h"

#ifndef SHAMA_VERSION
#define SHAMA_VERSION "0"
#endif

static void put_schema(sh_buf_t *out, const sh_schema_t *schema, bool partial);

/* ---- schemas */

static void put_type(sh_buf_t *out, const sh_schema_t *schema, const char *type) {
    sh_buf_printf(out, schema->nullable ? "\"type\":[\"%s\",\"null\"]" : "\"type\":\"%s\"", type);
}

static void put_limits(sh_buf_t *out, const sh_schema_t *schema, const char *min, const char *max) {
    if (schema->has_min) sh_buf_printf(out, ",\"%s\":%lld", min, (long long)schema->min);
    if (schema->has_max) sh_buf_printf(out, ",\"%s\":%lld", max, (long long)schema->max);
}

static void put_choices(sh_buf_t *out, const sh_schema_t *schema) {
    sh_buf_put_lit(out, ",\"enum\":[");
    for (uint32_t i = 0; i < schema->choice_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        sh_buf_put_json(out, schema->choices[i]);
    }
    if (schema->nullable) sh_buf_put_lit(out, ",null");
    sh_buf_put_byte(out, ']');
}

/* Money and rates are text, so that nobody's parser makes a binary float of them. */
static void put_decimal(sh_buf_t *out, const sh_schema_t *schema) {
    bool negative = schema->has_min && schema->min < 0;
    put_type(out, schema, "string");
    sh_buf_put_lit(out, ",\"format\":\"decimal\",\"pattern\":\"^");
    if (negative) sh_buf_put_lit(out, "-?");
    sh_buf_put_lit(out, "(0|[1-9][0-9]{0,7})");
    if (schema->scale > 0) sh_buf_printf(out, "(\\\\.[0-9]{1,%d})?", schema->scale);
    sh_buf_put_lit(out, "$\"");
}

/* The schema of a field, with its default unless it belongs to a patch. */
static void put_field_schema(sh_buf_t *out, const sh_schema_field_t *field, bool partial) {
    put_schema(out, field->schema, partial);
    if (!field->fallback || partial) return;
    out->len--; /* opens the object again */
    if (out->ptr[out->len - 1] != '{') sh_buf_put_byte(out, ',');
    sh_buf_put_lit(out, "\"default\":");
    sh_json_write(out, field->fallback);
    sh_buf_put_byte(out, '}');
}

static void put_object(sh_buf_t *out, const sh_schema_t *schema, bool partial) {
    bool any = false;
    put_type(out, schema, "object");
    sh_buf_put_lit(out, ",\"additionalProperties\":false,\"properties\":{");
    for (uint32_t i = 0; i < schema->field_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        sh_buf_put_json(out, schema->fields[i].name);
        sh_buf_put_byte(out, ':');
        put_field_schema(out, &schema->fields[i], partial);
    }
    sh_buf_put_byte(out, '}');
    for (uint32_t i = 0; i < schema->field_count && !partial; i++) {
        if (!schema->fields[i].required) continue;
        sh_buf_put_c(out, any ? "," : ",\"required\":[");
        sh_buf_put_json(out, schema->fields[i].name);
        any = true;
    }
    if (any) sh_buf_put_byte(out, ']');
}

static void put_text(sh_buf_t *out, const sh_schema_t *schema, const char *format) {
    put_type(out, schema, "string");
    sh_buf_printf(out, ",\"format\":\"%s\"", format);
}

static void put_schema(sh_buf_t *out, const sh_schema_t *schema, bool partial) {
    sh_buf_put_byte(out, '{');
    switch (schema->type) {
    case SH_SCHEMA_ANY: break;
    case SH_SCHEMA_STRING:
        put_type(out, schema, "string");
        if (schema->choices)
            put_choices(out, schema);
        else
            put_limits(out, schema, "minLength", "maxLength");
        break;
    case SH_SCHEMA_INTEGER:
        put_type(out, schema, "integer");
        put_limits(out, schema, "minimum", "maximum");
        break;
    case SH_SCHEMA_BOOLEAN: put_type(out, schema, "boolean"); break;
    case SH_SCHEMA_MONEY:
    case SH_SCHEMA_DECIMAL: put_decimal(out, schema); break;
    case SH_SCHEMA_UUID: put_text(out, schema, "uuid"); break;
    case SH_SCHEMA_DATE: put_text(out, schema, "date"); break;
    case SH_SCHEMA_TIMESTAMP: put_text(out, schema, "date-time"); break;
    case SH_SCHEMA_EMAIL: put_text(out, schema, "email"); break;
    case SH_SCHEMA_ARRAY:
        put_type(out, schema, "array");
        put_limits(out, schema, "minItems", "maxItems");
        sh_buf_put_lit(out, ",\"items\":");
        if (schema->items)
            put_schema(out, schema->items, false);
        else
            sh_buf_put_lit(out, "{}");
        break;
    case SH_SCHEMA_OBJECT: put_object(out, schema, partial); break;
    }
    sh_buf_put_byte(out, '}');
}

/* ---- operations */

static void put_parameter(sh_buf_t *out, bool *any, sh_str_t name, const char *in, bool required) {
    sh_buf_put_c(out, *any ? ",{\"name\":" : "{\"name\":");
    *any = true;
    sh_buf_put_json(out, name);
    sh_buf_printf(out, ",\"in\":\"%s\",\"required\":%s,\"schema\":", in, required ? "true" : "false");
}

static void put_parameters(sh_buf_t *out, const sh_route_t *route) {
    bool any = false;
    sh_buf_put_lit(out, ",\"parameters\":[");
    for (uint32_t i = 0; i < route->param_count; i++) {
        put_parameter(out, &any, sh_str_of(route->params[i]), "path", true);
        put_schema(out, route->param_schemas[i], false);
        sh_buf_put_byte(out, '}');
    }
    for (uint32_t i = 0; route->query && i < route->query->field_count; i++) {
        const sh_schema_field_t *f = &route->query->fields[i];
        put_parameter(out, &any, f->name, "query", f->required);
        put_field_schema(out, f, false);
        sh_buf_put_byte(out, '}');
    }
    sh_buf_put_byte(out, ']');
}

static void put_body(sh_buf_t *out, const sh_route_t *route) {
    if (!route->body) return;
    sh_buf_printf(out, ",\"requestBody\":{\"required\":%s,\"content\":{\"%s\":{\"schema\":", route->body_optional ? "false" : "true",
                  route->partial ? "application/merge-patch+json" : "application/json");
    put_schema(out, route->body, route->partial);
    sh_buf_put_lit(out, "}}}");
}

static void put_responses(sh_buf_t *out, const sh_route_t *route) {
    sh_buf_printf(out, ",\"responses\":{\"%d\":{\"description\":\"%s\"", route->status, route->status == 201 ? "created" : "done");
    if (route->status != 204 && route->produces) {
        sh_buf_put_lit(out, ",\"content\":{");
        sh_buf_put_json(out, sh_str_of(route->produces));
        sh_buf_put_lit(out, ":{");
        if (route->answer) {
            sh_buf_put_lit(out, "\"schema\":");
            put_schema(out, route->answer, false);
        }
        sh_buf_put_lit(out, "}}");
    }
    sh_buf_put_lit(out, "},\"default\":{\"$ref\":\"#/components/responses/Problem\"}}");
}

static void put_operation(sh_buf_t *out, const char *service, const sh_route_t *route) {
    sh_buf_put_byte(out, '"');
    for (const char *p = route->method; *p; p++) sh_buf_put_byte(out, (char)(*p | 0x20));
    sh_buf_put_lit(out, "\":{\"operationId\":");
    sh_buf_put_json(out, sh_str_of(route->operation));
    sh_buf_put_lit(out, ",\"summary\":");
    sh_buf_put_json(out, sh_str_of(route->summary));
    sh_buf_put_lit(out, ",\"tags\":[");
    sh_buf_put_json(out, sh_str_of(service));
    sh_buf_put_byte(out, ']');
    put_parameters(out, route);
    put_body(out, route);
    put_responses(out, route);
    if (route->is_public) sh_buf_put_lit(out, ",\"security\":[]");
    for (uint32_t i = 0; i < route->role_count; i++) {
        sh_buf_put_c(out, i ? "," : ",\"x-roles\":[");
        sh_buf_put_json(out, sh_str_of(route->roles[i]));
    }
    if (route->role_count) sh_buf_put_byte(out, ']');
    sh_buf_put_byte(out, '}');
}

/* "/a/:id/b" -> "/a/{id}/b" */
static void put_path(sh_buf_t *out, const char *pattern) {
    sh_buf_put_byte(out, '"');
    while (*pattern) {
        size_t n = strcspn(pattern, ":");
        sh_buf_put(out, pattern, n);
        pattern += n;
        if (!*pattern) break;
        size_t name = strcspn(++pattern, "/");
        sh_buf_put_byte(out, '{');
        sh_buf_put(out, pattern, name);
        sh_buf_put_byte(out, '}');
        pattern += name;
    }
    sh_buf_put_byte(out, '"');
}

/* ---- the document */

#define PLAIN(path, id, text, type)                                                                                                                  \
    "\"" path "\":{\"get\":{\"operationId\":\"" id "\",\"summary\":\"" text "\",\"tags\":[\"platform\"],\"security\":[],"                            \
    "\"responses\":{\"200\":{\"description\":\"done\",\"content\":{\"" type "\":{}}}}}}"

static const char head[] =
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Shama Core\",\"version\":\"" SHAMA_VERSION "\"},"
    "\"servers\":[{\"url\":\"/\"}],\"security\":[{\"bearer\":[]}],"
    "\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\"}},"
    "\"schemas\":{\"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457\","
    "\"required\":[\"type\",\"title\",\"status\",\"detail\",\"code\",\"request_id\"],\"properties\":{"
    "\"type\":{\"type\":\"string\",\"format\":\"uri-reference\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
    "\"detail\":{\"type\":\"string\",\"description\":\"in the language of Accept-Language: es or en\"},"
    "\"code\":{\"type\":\"string\",\"description\":\"stable\"},\"request_id\":{\"type\":\"string\"},"
    "\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"pointer\":{\"type\":\"string\"},"
    "\"code\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}}},"
    "\"responses\":{\"Problem\":{\"description\":\"refused\",\"content\":{\"application/problem+json\":{"
    "\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}}},\"paths\":{" PLAIN(
        "/health", "platform.health", "The process answers",
        "application/json") "," PLAIN("/health/ready", "platform.ready", "Database and events answer, else 503",
                                      "application/json") "," PLAIN("/metrics", "platform.metrics", "Prometheus metrics",
                                                                    "text/plain") "," PLAIN("/openapi.json", "platform.openapi", "This document",
                                                                                            "application/json") ","
                                                                                                                "\"/api/v1/admin/"
                                                                                                                "rules\":{\"get\":{\"operationId\":"
                                                                                                                "\"platform.rules\",\"summary\":"
                                                                                                                "\"Rules version and last reload\","
                                                                                                                "\"tags\":[\"platform\"],\"x-roles\":"
                                                                                                                "[\"ADMIN\"],\"responses\":{\"200\":{"
                                                                                                                "\"description\":\"done\","
                                                                                                                "\"content\":{\"application/"
                                                                                                                "json\":{}}},\"default\":{\"$ref\":"
                                                                                                                "\"#/components/responses/"
                                                                                                                "Problem\"}}}}";

typedef void (*route_fn)(void *data, const char *service, const sh_route_t *route);

static void each_route(const sh_generation_t *g, route_fn fn, void *data) {
    for (uint32_t i = 0; i < g->vm_count; i++) {
        const sh_manifest_t *m = sh_vm_manifest(g->vms[i]);
        for (uint32_t k = 0; k < m->route_count; k++) fn(data, m->name, &m->routes[k]);
    }
}

typedef struct writer {
    const sh_generation_t *generation;
    sh_buf_t *out;
    const sh_route_t *first; /* of the path that is being written */
    bool is_repeated;        /* an earlier route has its path */
    bool any;
} writer_t;

static void see_earlier(void *data, const char *service, const sh_route_t *route) {
    (void)service;
    writer_t *w = data;
    if (w->any) return; /* past the route itself */
    if (route == w->first)
        w->any = true;
    else if (strcmp(route->pattern, w->first->pattern) == 0)
        w->is_repeated = true;
}

static void put_if_same_path(void *data, const char *service, const sh_route_t *route) {
    writer_t *w = data;
    if (strcmp(route->pattern, w->first->pattern) != 0) return;
    if (w->any) sh_buf_put_byte(w->out, ',');
    w->any = true;
    put_operation(w->out, service, route);
}

/* A path is written with all its methods where its first route stands. */
static void put_path_of(void *data, const char *service, const sh_route_t *route) {
    (void)service;
    writer_t w = *(writer_t *)data;
    w.first = route;
    w.is_repeated = w.any = false;
    each_route(w.generation, see_earlier, &w);
    if (w.is_repeated) return;
    sh_buf_put_byte(w.out, ',');
    put_path(w.out, route->pattern);
    sh_buf_put_lit(w.out, ":{");
    w.any = false;
    each_route(w.generation, put_if_same_path, &w);
    sh_buf_put_byte(w.out, '}');
}

void sh_openapi_write(const sh_generation_t *generation, sh_buf_t *out) {
    writer_t w = {.generation = generation, .out = out};
    sh_buf_put_lit(out, head);
    each_route(generation, put_path_of, &w);
    sh_buf_put_lit(out, "}}");
}
