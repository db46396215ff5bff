/* Events become a call of lua/shama/consumer.lua in a task of their own, and what it returns becomes the outcome of the job. */
#ifndef SH_LUA_EVENTS_H
#define SH_LUA_EVENTS_H

#include "host/vm.h"
#include "net/nats.h"

/* status 0: committed. SH_EUNAVAILABLE: the database is away. SH_ECANCELED: the vm closes. Anything else: failed; `error` is lent. */
typedef void (*sh_lua_events_done_fn)(void *data, int status, const char *error);

/* A sh_consumer_start_fn (events/consumer.h). Calls deliver(options, handler, events) of the module "shama.consumer", or bury(options, event, error)
 * when burial_error is not NULL. Payloads are decoded by the descriptors of the vm's context (bind/lua_context.h); one that cannot be decoded
 * fails its event. The messages are borrowed until `fn` runs: what an event's headers say is read when a handler asks for it. */
void sh_lua_events_start(sh_vm_t *vm, const sh_subscription_t *subscription, sh_nats_msg_t *const *messages, uint32_t count, const char *burial_error,
                         sh_lua_events_done_fn fn, void *data);

#endif
