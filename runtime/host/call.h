/* A call of a rule by somebody outside, and the rule's reply: what the edge hands to Lua and gets back, free of HTTP and of Lua. */
#ifndef SH_CALL_H
#define SH_CALL_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/json.h"
#include "host/manifest.h"
#include "host/vm.h"

/* Who asks. All slices live in the request's arena. */
typedef struct sh_caller {
    sh_str_t user_id;             /* "" when anonymous */
    sh_str_t customer_id;         /* "" unless the login belongs to a customer */
    sh_str_t roles[SH_ROLES_MAX]; /* effective: in the token and in the database */
    uint32_t role_count;
    const char *language; /* "es" or "en" */
} sh_caller_t;

typedef struct sh_call {
    sh_vm_t *vm;
    const sh_route_t *route;
    const sh_caller_t *caller;
    sh_arena_t *arena; /* the request's; lives until done was called */
    sh_str_t request_id, traceparent;
    sh_str_t params[SH_PARAMS_MAX]; /* decoded and canonical, by route->params */
    const sh_json_value_t *query;   /* object with defaults filled, or NULL */
    const sh_json_value_t *body;    /* checked object, or NULL */
    sh_str_t if_match, idempotency_key;
    sh_str_t peer;   /* client address */
    sh_task_t *task; /* set while it runs */
} sh_call_t;

typedef struct sh_reply_header {
    sh_str_t name, value;
} sh_reply_header_t;

/* The outcome. code NULL: an answer (status, body). Else a problem: status, code, detail, errors. */
typedef struct sh_reply {
    int status;
    sh_buf_t body; /* taken by the receiver */
    const char *content_type;
    sh_reply_header_t headers[8];
    uint32_t header_count;
    const char *code;       /* "QUOTATION_NOT_PENDING" */
    sh_str_t detail;        /* in the caller's language */
    sh_str_t errors;        /* JSON array, or empty */
    uint32_t retry_after_s; /* 0: none */
    sh_str_t extra;         /* further members of the problem as JSON without braces ("\"current_version\":3"), or empty */
    sh_task_account_t used;
} sh_reply_t;

/* Runs exactly once, perhaps inside the start call. Slices in the reply live in the call's arena. */
typedef void (*sh_call_done_fn)(void *data, sh_call_t *call, sh_reply_t *reply);

/* Starts the rule. */
typedef void (*sh_call_start_fn)(sh_call_t *call, sh_call_done_fn fn, void *data);

#endif
