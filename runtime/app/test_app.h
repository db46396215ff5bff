/* The whole application without sockets, for specs: all services with their rules, behind the same edge as in production, on a database of the
 * spec file's own.
 *
 * A request is bytes through net/http_local and the edge's handlers; an event goes from an outbox to the handlers of its subscribers by the code
 * that a consumer uses. What differs from a server: no NATS, the user's status is asked for with every request, an account of nobody's. */
#ifndef SH_TEST_APP_H
#define SH_TEST_APP_H

#include "app/test_databases.h"
#include "app/workbench.h"
#include "edge/edge.h"

typedef struct sh_test_app {
    sh_workbench_t *bench;
    sh_test_databases_t *databases;
    const char *service; /* whose login shama.db has in each new database, or NULL */
    bool is_gate;        /* a gate spec has none of this */
    void *metrics_memory;
    sh_edge_t *edge; /* NULL until the services are loaded */
    sh_generation_t *generation;
    sh_lua_context_t contexts[SH_SERVICES_MAX];
    sh_http_opts_t http;
} sh_test_app_t;

/* Loads nothing and makes nothing yet. Both are borrowed and outlive it. */
void sh_test_app_init(sh_test_app_t *app, sh_workbench_t *bench, sh_test_databases_t *databases);
/* Before the bench is disposed. No request may be pending. */
void sh_test_app_dispose(sh_test_app_t *app);

/* Loads all services, once; `error` names file and line. */
int sh_test_app_load(sh_test_app_t *app, sh_buf_t *error) SH_MUSTCHECK;
/* Gives the services the pools of the current database. */
int sh_test_app_connect(sh_test_app_t *app) SH_MUSTCHECK;

/* The primitive "test.app" for lua/shama/test/app.lua; `data` is the app. In test_app_lua.c. */
int sh_test_app_open(lua_State *L, void *data);

#endif
