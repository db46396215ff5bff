/* The list of primitives: every module `shama.*` that has a C part, for workers, the check process and specs alike. */
#ifndef SH_PRIMITIVES_H
#define SH_PRIMITIVES_H

#include "app/config.h"
#include "bind/lua_context.h"
#include "bind/lua_pdf.h"
#include "host/vm.h"

enum { SH_PRIMITIVES_MAX = 32 };

/* Contexts of the primitives that are not in sh_lua_context_t. All borrowed for the life of the vm. */
typedef struct sh_primitive_data {
    sh_uuid_source_t *uuids;
    sh_lua_clock_t *clock;
    sh_lua_jwt_t *jwt;
    sh_lua_password_t *password;
    sh_lua_config_t *config;
    sh_lua_pdf_opts_t *pdf;
} sh_primitive_data_t;

/* Fills `out` and returns the count. */
size_t sh_primitives_list(const sh_primitive_data_t *data, sh_primitive_t out[SH_PRIMITIVES_MAX]);

/* The budget of a service from the configuration. */
sh_budget_t sh_primitives_budget(const sh_config_t *config);

#endif
