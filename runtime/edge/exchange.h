/* One request on its way through the edge, and the ways to answer it; shared by the files of edge/ only.
 *
 * An exchange lives in its request's arena. Every function here that answers does so exactly once and last: after it the request, and the
 * exchange with it, may be gone. */
#ifndef SH_EXCHANGE_H
#define SH_EXCHANGE_H

#include "codec/uuid.h"
#include "edge/auth.h"
#include "edge/problem.h"
#include "edge/router.h"

struct sh_edge {
    sh_edge_opts_t opts;
    char *environment, *cors_origins; /* owned: the configuration they came from is replaced by a reload */
    sh_auth_t *auth;
    sh_uuid_source_t *uuids;
    sh_generation_t *current;
    sh_buf_t openapi;         /* of the current generation, made when first asked for */
    sh_series_t *unrouted[6]; /* by status / 100 */
    sh_series_t *refused_auth;
};

typedef enum sh_builtin {
    SH_BUILTIN_NONE,
    SH_BUILTIN_HEALTH,
    SH_BUILTIN_READY,
    SH_BUILTIN_METRICS,
    SH_BUILTIN_OPENAPI,
    SH_BUILTIN_ADMIN_RULES,
} sh_builtin_t;

typedef struct sh_exchange {
    sh_edge_t *edge;
    sh_http_request_t *request;
    sh_generation_t *generation; /* retained until the answer is written */
    sh_match_t match;            /* route NULL: built in, or none */
    sh_builtin_t builtin;
    bool is_admin; /* came by the admin listener */
    sh_call_t call;
    sh_caller_t caller;
    sh_str_t request_id;
    const char *allow; /* for 405 */
} sh_exchange_t;

/* The exchange of a request; made when first asked for: request id (the client's, if it is a sane one) and language. */
sh_exchange_t *sh_exchange_of(sh_edge_t *edge, sh_http_request_t *request);

bool sh_exchange_has_role(const sh_exchange_t *x, const char *role);

/* Fills in problem+json with its headers (Allow, Retry-After ...), for sh_http_respond() or on_bad. */
void sh_exchange_problem(sh_exchange_t *x, const sh_problem_t *problem, uint32_t retry_after_s, sh_http_response_t *response);
/* Answers with a problem of the edge's own; `errors` is a JSON array or empty. */
void sh_exchange_refuse(sh_exchange_t *x, int status, const char *code, sh_str_t errors);
/* Answers with a body of the edge's own, which is taken. */
void sh_exchange_answer(sh_exchange_t *x, int status, const char *content_type, sh_buf_t body);
/* Answers with what a rule replied; its body is taken. */
void sh_exchange_reply(sh_exchange_t *x, sh_call_t *call, sh_reply_t *reply);
/* Answers OPTIONS, for browsers that ask before they send (CORS). */
void sh_exchange_preflight(sh_exchange_t *x);

#endif
