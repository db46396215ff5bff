/* What the primitives of one vm share: handed to sh_vm_create() as its `user`, made by the app, alive as long as the vm. */
#ifndef SH_LUA_CONTEXT_H
#define SH_LUA_CONTEXT_H

#include "bind/lua_clock.h"
#include "bind/lua_config.h"
#include "bind/lua_jwt.h"
#include "bind/lua_password.h"
#include "codec/protobuf.h"
#include "codec/uuid.h"
#include "host/vm.h"
#include "net/pg_pool.h"

typedef struct sh_lua_context {
    const char *service;           /* and its schema: "sales" */
    sh_pg_pool_t *pool;            /* NULL while rules are only checked */
    const sh_protobuf_t *protobuf; /* of this generation's bundle; NULL: events cannot be encoded */
    sh_uuid_source_t *uuids;
    sh_lua_clock_t *clock;
    /* After a commit that wrote outbox rows; NULL allowed. */
    void (*wake_relay)(void *data);
    void *wake_data;
} sh_lua_context_t;

static inline sh_lua_context_t *sh_lua_context_of(sh_vm_t *vm) { return sh_vm_user(vm); }

#endif
