/* The edge's codes and their sentences, one table; and the words for statuses, for JSON errors and for the reader's language. */
#include "edge/problem.h"

typedef struct sentence {
    const char *code;
    const char *es, *en;
} sentence_t;

/* Says what happened and what to do. Rules bring their own sentences for their own codes. */
static const sentence_t sentences[] = {
    {"BAD_REQUEST", "La petición no es HTTP bien formado.", "The request is not well-formed HTTP."},
    {"INVALID_PATH", "La dirección contiene un identificador que no es válido.", "The path holds an identifier that is not valid."},
    {"INVALID_QUERY", "Algún parámetro de la consulta no es válido; errors dice cuáles.", "Some query parameters are not valid; errors names them."},
    {"QUERY_MALFORMED", "La consulta de la dirección está mal codificada o tiene demasiados parámetros.",
     "The query of the address is badly encoded or has too many parameters."},
    {"MALFORMED_JSON", "El cuerpo no es JSON válido.", "The body is not valid JSON."},
    {"BODY_MISSING", "Falta el cuerpo de la petición: un objeto JSON.", "The request needs a body: a JSON object."},
    {"INVALID_BODY", "Algún campo no es válido; errors dice cuáles.", "Some fields are not valid; errors names them."},
    {"UNKNOWN_FIELD", "La petición contiene campos que no existen; errors dice cuáles.",
     "The request has fields that do not exist; errors names them."},
    {"BAD_CURSOR", "El cursor no es válido; use el next_cursor de la página anterior sin cambiarlo.",
     "The cursor is not valid; use next_cursor of the previous page as it is."},
    {"TOKEN_MISSING", "Hace falta iniciar sesión: falta la cabecera Authorization con un token Bearer.",
     "Please log in: the Authorization header with a bearer token is missing."},
    {"TOKEN_INVALID", "El token no es válido; inicie sesión de nuevo.", "The token is not valid; please log in again."},
    {"TOKEN_EXPIRED", "El token ha caducado; renuévelo o inicie sesión de nuevo.", "The token has expired; refresh it or log in again."},
    {"USER_UNKNOWN_OR_DISABLED", "El usuario de este token no existe o está desactivado.", "The user of this token does not exist or is disabled."},
    {"FORBIDDEN", "Su usuario no tiene permiso para esta operación.", "Your user may not do this."},
    {"NOT_FOUND", "No existe nada en esta dirección.", "There is nothing at this address."},
    {"METHOD_NOT_ALLOWED", "Esta dirección no admite este método; la cabecera Allow dice cuáles.",
     "This address does not take this method; the Allow header names those it takes."},
    {"NOT_ACCEPTABLE", "La respuesta no existe en ninguno de los formatos pedidos en Accept.",
     "The answer does not exist in any of the formats that Accept asks for."},
    {"REQUEST_TIMEOUT", "La petición tardó demasiado en llegar.", "The request took too long to arrive."},
    {"CONFLICT", "El estado actual no permite esta operación.", "The current state does not allow this."},
    {"DUPLICATE", "Ya existe un registro con esos datos.", "There already is a record with this data."},
    {"CONCURRENT_CHANGE", "Otra persona cambió los datos al mismo tiempo; léalos de nuevo y repita.",
     "Someone else changed the data at the same time; read it again and repeat."},
    {"PRECONDITION_FAILED", "El registro ha cambiado desde que lo leyó (If-Match).", "The record has changed since you read it (If-Match)."},
    {"BODY_TOO_LARGE", "El cuerpo de la petición es demasiado grande.", "The body of the request is too large."},
    {"URI_TOO_LONG", "La dirección es demasiado larga.", "The address is too long."},
    {"UNSUPPORTED_MEDIA_TYPE", "El cuerpo debe ser application/json.", "The body must be application/json."},
    {"EXPECTATION_FAILED", "No se admite el valor de la cabecera Expect.", "The value of the Expect header is not supported."},
    {"UNKNOWN_REFERENCE", "La petición se refiere a un registro que no existe.", "The request refers to a record that does not exist."},
    {"UNPROCESSABLE", "La petición está bien formada, pero no se puede cumplir.", "The request is well-formed, but cannot be done."},
    {"RATE_LIMITED", "Demasiadas peticiones; espere lo que dice Retry-After.", "Too many requests; wait as long as Retry-After says."},
    {"HEADERS_TOO_LARGE", "Las cabeceras de la petición son demasiado grandes o demasiadas.",
     "The headers of the request are too large or too many."},
    {"INTERNAL", "Ha ocurrido un error interno; si se repite, comunique el request_id.",
     "An internal error happened; if it happens again, please report the request_id."},
    {"NOT_IMPLEMENTED", "El servidor no conoce este método o esta codificación.", "The server does not know this method or encoding."},
    {"OVERLOADED", "El servidor está sobrecargado; repita en unos segundos.", "The server is overloaded; repeat in a few seconds."},
    {"DATABASE_UNAVAILABLE", "La base de datos no responde; repita en unos segundos.", "The database does not answer; repeat in a few seconds."},
    {"DATABASE_TIMEOUT", "La base de datos tardó demasiado; repita en unos segundos.", "The database took too long; repeat in a few seconds."},
    {"OUTCOME_UNKNOWN", "Se perdió la conexión al guardar: puede que se haya guardado. Compruébelo antes de repetir.",
     "The connection was lost while saving: it may have been saved. Check before you repeat."},
    {"DEADLINE_EXCEEDED", "La operación tardó demasiado y se ha interrumpido.", "The operation took too long and was ended."},
    {"BUDGET_EXCEEDED", "La operación usó demasiado tiempo de cálculo y se ha interrumpido.",
     "The operation used too much computing time and was ended."},
    {"MEMORY_EXCEEDED", "La operación necesitó demasiada memoria y se ha interrumpido.", "The operation needed too much memory and was ended."},
    {"ROUTE_QUARANTINED", "Esta operación está desactivada por fallos repetidos hasta que se corrijan sus reglas.",
     "This operation is switched off after repeated failures until its rules are corrected."},
    {"CANCELED", "La petición se ha cancelado.", "The request was canceled."},
    {"HTTP_VERSION_NOT_SUPPORTED", "Solo se admite HTTP/1.1 y HTTP/1.0.", "Only HTTP/1.1 and HTTP/1.0 are supported."},
};

typedef struct status_words {
    int status;
    const char *code;
    const char *es, *en; /* titles */
} status_words_t;

static const status_words_t statuses[] = {
    {400, "BAD_REQUEST", "Petición no válida", "Bad request"},
    {401, "TOKEN_MISSING", "Sin autenticar", "Not authenticated"},
    {403, "FORBIDDEN", "Sin permiso", "Forbidden"},
    {404, "NOT_FOUND", "No encontrado", "Not found"},
    {405, "METHOD_NOT_ALLOWED", "Método no admitido", "Method not allowed"},
    {406, "NOT_ACCEPTABLE", "Formato no disponible", "Not acceptable"},
    {408, "REQUEST_TIMEOUT", "Petición demasiado lenta", "Request timeout"},
    {409, "CONFLICT", "Conflicto", "Conflict"},
    {412, "PRECONDITION_FAILED", "Condición no cumplida", "Precondition failed"},
    {413, "BODY_TOO_LARGE", "Cuerpo demasiado grande", "Content too large"},
    {414, "URI_TOO_LONG", "Dirección demasiado larga", "URI too long"},
    {415, "UNSUPPORTED_MEDIA_TYPE", "Formato no admitido", "Unsupported media type"},
    {417, "EXPECTATION_FAILED", "Expectativa no admitida", "Expectation failed"},
    {422, "UNPROCESSABLE", "No se puede cumplir", "Unprocessable content"},
    {429, "RATE_LIMITED", "Demasiadas peticiones", "Too many requests"},
    {431, "HEADERS_TOO_LARGE", "Cabeceras demasiado grandes", "Header fields too large"},
    {500, "INTERNAL", "Error interno", "Internal error"},
    {501, "NOT_IMPLEMENTED", "No implementado", "Not implemented"},
    {503, "OVERLOADED", "Servicio no disponible", "Service unavailable"},
    {505, "HTTP_VERSION_NOT_SUPPORTED", "Versión de HTTP no admitida", "HTTP version not supported"},
};

/* What the JSON reader says, for those who read Spanish. */
static const struct {
    const char *en, *es;
} json_reasons[] = {
    {"duplicate key", "clave repetida"},
    {"nested too deeply", "demasiados niveles"},
    {"too many values", "demasiados valores"},
    {"text after the value", "hay texto después del valor"},
    {"value expected", "se esperaba un valor"},
    {"unknown word", "palabra desconocida"},
    {"number with a leading zero", "número con un cero a la izquierda"},
    {"digit expected", "se esperaba una cifra"},
    {"digit expected after the point", "se esperaba una cifra después del punto"},
    {"digit expected in the exponent", "se esperaba una cifra en el exponente"},
    {"number too long", "número demasiado largo"},
    {"number out of range", "número fuera de rango"},
    {"string without end", "texto sin comillas de cierre"},
    {"control character in a string", "carácter de control en un texto"},
    {"invalid UTF-8", "UTF-8 no válido"},
    {"unknown escape", "secuencia de escape desconocida"},
    {"incomplete \\u escape", "secuencia \\u incompleta"},
    {"\\u needs four hexadecimal digits", "\\u necesita cuatro cifras hexadecimales"},
    {"\\u0000 is not allowed", "\\u0000 no se admite"},
    {"unpaired surrogate", "mitad de un par sustituto"},
    {"byte order mark is not allowed", "no se admite la marca de orden de bytes"},
    {"array without end", "lista sin cerrar"},
    {"',' or ']' expected", "se esperaba ',' o ']'"},
    {"object without end", "objeto sin cerrar"},
    {"a key in quotes expected", "se esperaba una clave entre comillas"},
    {"':' expected", "se esperaba ':'"},
    {"',' or '}' expected", "se esperaba ',' o '}'"},
};

static bool is_english(const char *language) { return language && strcmp(language, "en") == 0; }

static const status_words_t *words_of(int status) {
    for (size_t i = 0; i < SH_ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status) return &statuses[i];
    return words_of(status >= 500 ? 500 : 400);
}

const char *sh_problem_code_of(int status) { return words_of(status)->code; }

const char *sh_problem_sentence(const char *code, const char *language) {
    for (size_t i = 0; i < SH_ARRAY_LEN(sentences); i++)
        if (strcmp(sentences[i].code, code) == 0) return is_english(language) ? sentences[i].en : sentences[i].es;
    return NULL;
}

/* ---- the document */

static void put_type(sh_buf_t *out, const char *code) {
    sh_buf_put_lit(out, "{\"type\":\"/problems/");
    for (const char *p = code; *p; p++) {
        char c = *p;
        if (c >= 'A' && c <= 'Z')
            sh_buf_put_byte(out, (char)(c | 0x20));
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            sh_buf_put_byte(out, c);
        else
            sh_buf_put_byte(out, '-');
    }
    sh_buf_put_byte(out, '"');
}

void sh_problem_write(const sh_problem_t *p, sh_buf_t *out) {
    const status_words_t *words = words_of(p->status);
    const char *code = p->code ? p->code : words->code;
    sh_str_t detail = p->detail;
    if (!detail.len) {
        const char *known = sh_problem_sentence(code, p->language);
        detail = sh_str_of(known ? known : sh_problem_sentence(words->code, p->language));
    }
    put_type(out, code);
    sh_buf_put_lit(out, ",\"title\":");
    sh_buf_put_json(out, sh_str_of(is_english(p->language) ? words->en : words->es));
    sh_buf_put_lit(out, ",\"status\":");
    sh_buf_put_i64(out, p->status);
    sh_buf_put_lit(out, ",\"detail\":");
    sh_buf_put_json(out, detail);
    sh_buf_put_lit(out, ",\"code\":");
    sh_buf_put_json(out, sh_str_of(code));
    sh_buf_put_lit(out, ",\"request_id\":");
    sh_buf_put_json(out, p->request_id);
    if (p->errors.len) {
        sh_buf_put_lit(out, ",\"errors\":");
        sh_buf_put_str(out, p->errors);
    }
    if (p->extra.len) {
        sh_buf_put_byte(out, ',');
        sh_buf_put_str(out, p->extra);
    }
    sh_buf_put_byte(out, '}');
}

static void put_error(sh_buf_t *out, sh_str_t pointer, const char *code, sh_str_t detail) {
    sh_buf_put_lit(out, "{\"pointer\":");
    sh_buf_put_json(out, pointer);
    sh_buf_put_lit(out, ",\"code\":\"");
    sh_buf_put_c(out, code);
    sh_buf_put_lit(out, "\",\"detail\":");
    sh_buf_put_json(out, detail);
    sh_buf_put_byte(out, '}');
}

sh_str_t sh_problem_errors(const sh_schema_report_t *report, const char *language) {
    sh_buf_t out = {0};
    sh_buf_put_byte(&out, '[');
    for (uint32_t i = 0; i < report->count; i++) {
        const sh_schema_issue_t *issue = &report->issues[i];
        if (i) sh_buf_put_byte(&out, ',');
        put_error(&out, issue->pointer, issue->code, sh_schema_issue_text(issue, language, report->arena));
    }
    sh_buf_put_byte(&out, ']');
    sh_str_t kept = sh_arena_str(report->arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
    return kept;
}

sh_str_t sh_problem_json_errors(const sh_json_error_t *error, const char *language, sh_arena_t *arena) {
    const char *reason = error->reason;
    for (size_t i = 0; i < SH_ARRAY_LEN(json_reasons) && !is_english(language); i++)
        if (strcmp(json_reasons[i].en, reason) == 0) {
            reason = json_reasons[i].es;
            break;
        }
    sh_buf_t out = {0};
    sh_buf_put_byte(&out, '[');
    put_error(&out, SH_STR(""), "JSON", sh_str_of(sh_arena_printf(arena, "%s (byte %zu)", reason, error->offset)));
    sh_buf_put_byte(&out, ']');
    sh_str_t kept = sh_arena_str(arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
    return kept;
}

/* ---- the reader's language */

/* "0", "0.5", "0.123", "1", "1.000" in thousandths (RFC 9110, 12.4.2); -1 when it is none of these. */
static int quality(sh_str_t s) {
    if (!s.len || s.len > 5 || (s.ptr[0] != '0' && s.ptr[0] != '1') || (s.len > 1 && s.ptr[1] != '.')) return -1;
    int q = (s.ptr[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return -1;
        q += (s.ptr[i] - '0') * unit;
    }
    return q > 1000 ? -1 : q;
}

static sh_str_t trimmed(sh_str_t s) {
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) s.len--;
    return s;
}

/* Cuts off what stands before `separator`, or everything. */
static sh_str_t take_until(sh_str_t *rest, char separator) {
    const char *at = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    sh_str_t head = sh_str(rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len);
    *rest = at ? sh_str(at + 1, rest->len - head.len - 1) : SH_STR_NULL;
    return trimmed(head);
}

bool sh_problem_next_range(sh_str_t *rest, sh_str_t *range, int *quality_out) {
    while (rest->len) {
        sh_str_t element = take_until(rest, ',');
        *range = take_until(&element, ';');
        *quality_out = 1000;
        while (element.len) {
            sh_str_t parameter = take_until(&element, ';');
            if (parameter.len > 2 && (parameter.ptr[0] | 0x20) == 'q' && parameter.ptr[1] == '=')
                *quality_out = quality(sh_str(parameter.ptr + 2, parameter.len - 2));
        }
        if (range->len && *quality_out >= 0) return true; /* what is malformed is passed over */
    }
    return false;
}

const char *sh_problem_language(sh_str_t accept_language) {
    int es = -1, en = -1, any = -1, q;
    sh_str_t range;
    if (!accept_language.len) return "es";
    while (sh_problem_next_range(&accept_language, &range, &q)) {
        bool has_end = range.len == 2 || (range.len > 2 && range.ptr[2] == '-');
        sh_str_t primary = sh_str(range.ptr, has_end ? 2 : 0);
        if (sh_str_eq_nocase(primary, SH_STR("es")) && q > es)
            es = q;
        else if (sh_str_eq_nocase(primary, SH_STR("en")) && q > en)
            en = q;
        else if (sh_str_eq_c(range, "*") && q > any)
            any = q;
    }
    if (es < 0) es = any;
    if (en < 0) en = any;
    return en > 0 && en > es ? "en" : "es";
}
