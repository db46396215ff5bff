/* A rules generation: one version of all services in this worker. Two live side by side while a reload drains the old one. */
#ifndef SH_GENERATION_H
#define SH_GENERATION_H

#include "host/vm.h"

enum { SH_SERVICES_MAX = 16 };

typedef struct sh_generation {
    uint32_t retained;
    sh_bundle_t *bundle;
    uint32_t serial;       /* counts up with every swap, the same in all workers */
    sh_outcome_t *outcome; /* on the board: what its requests came to; NULL allowed */
    char version[SH_VERSION_HEX + 1];
    sh_vm_t *vms[SH_SERVICES_MAX]; /* owned */
    uint32_t vm_count;
    void *router; /* the edge's; freed by router_destroy */
    void (*router_destroy)(void *router);
    void (*on_destroy)(void *data, struct sh_generation *generation); /* what app hangs on it */
    void (*on_destroyed)(void *data);                                 /* after the vms are gone */
    void *data;
} sh_generation_t;

sh_generation_t *sh_generation_create(sh_bundle_t *bundle);
sh_generation_t *sh_generation_retain(sh_generation_t *generation);
/* The last release destroys vms (their tasks are done by then) and the router. */
void sh_generation_release(sh_generation_t *generation);
sh_vm_t *sh_generation_vm(const sh_generation_t *generation, const char *service);

#endif
