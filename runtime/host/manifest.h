/* A service's manifest as C sees it: routes, events and rights, compiled from the table that rules/<service>/service.lua returns. */
#ifndef SH_MANIFEST_H
#define SH_MANIFEST_H

#include "base/arena.h"
#include "codec/schema.h"

enum { SH_ROLES_MAX = 16, SH_PARAMS_MAX = 8 };

typedef struct sh_route {
    const char *method;                              /* "POST" */
    const char *pattern;                             /* "/api/v1/quotations/:id/approve": manifest paths get the prefix /api/v1 */
    const char *label;                               /* "POST /api/v1/quotations/:id/approve": in logs and in quarantine */
    const char *params[SH_PARAMS_MAX];               /* names, in order */
    const sh_schema_t *param_schemas[SH_PARAMS_MAX]; /* UUID for `id` and `*_id`, else STRING 1..200 */
    uint32_t param_count;
    bool is_public;                  /* no token needed */
    const char *roles[SH_ROLES_MAX]; /* any of them opens it; none with is_public false: every authenticated user */
    uint32_t role_count;
    const sh_schema_t *body;  /* OBJECT, or NULL: no body allowed but {} */
    const sh_schema_t *query; /* OBJECT, or NULL: no parameters */
    bool body_optional;       /* no field of it is required */
    bool partial;             /* PATCH: merge-patch semantics in the body check */
    uint64_t body_bytes_max;  /* 0: the server's default */
    int status;               /* of a success: 200, 201, 204 */
    const char *summary;
    const char *operation;     /* "quotations.approve": for OpenAPI and logs */
    const char *produces;      /* "application/json", "application/pdf" ... */
    const sh_schema_t *answer; /* for OpenAPI, or NULL */
    int handler;               /* registry reference in the vm */
    uint32_t index;            /* in the manifest; also its slot for metrics */
    void *metrics;             /* the edge's, or NULL */
} sh_route_t;

typedef struct sh_subscription {
    const char *subject;       /* "quotation.approved" */
    const char *durable;       /* "inventory-quotation_approved" */
    bool batch;                /* the handler takes a list */
    uint32_t max_deliver;      /* 5 */
    const char *const *fields; /* of the payload, what the handler reads; NULL: all of it */
    uint32_t field_count;
    int handler;
} sh_subscription_t;

typedef struct sh_schedule {
    const char *name;
    uint64_t every_ms;
    int handler;
} sh_schedule_t;

typedef struct sh_refusal_code {
    const char *code; /* "QUOTATION_NOT_PENDING" */
    int status;       /* 409 */
} sh_refusal_code_t;

/* A database constraint that a rule expects to be hit, and what it means to the caller. */
typedef struct sh_constraint {
    const char *name, *code;
} sh_constraint_t;

typedef struct sh_manifest {
    const char *name;
    int schema_version;       /* migrations the rules need; 0: any */
    const char *const *needs; /* primitives */
    uint32_t need_count;
    const char *const *publishes; /* subjects */
    uint32_t publish_count;
    sh_route_t *routes;
    uint32_t route_count;
    const sh_subscription_t *subscriptions;
    uint32_t subscription_count;
    const sh_schedule_t *schedules;
    uint32_t schedule_count;
    const sh_refusal_code_t *refusals;
    uint32_t refusal_count;
    const sh_constraint_t *constraints;
    uint32_t constraint_count;
} sh_manifest_t;

/* HTTP status of a refusal code, or 0. */
int sh_manifest_refusal_status(const sh_manifest_t *manifest, const char *code);
/* Refusal code for a database constraint, or NULL. */
const char *sh_manifest_constraint(const sh_manifest_t *manifest, const char *constraint);
bool sh_manifest_may_publish(const sh_manifest_t *manifest, const char *subject);

#endif
