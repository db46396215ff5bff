/* Events that a transaction emits: checked and encoded when emitted, written to <schema>.outbox by one statement with the COMMIT. */
#ifndef SH_LUA_OUTBOX_H
#define SH_LUA_OUTBOX_H

#include "base/arena.h"
#include "host/task.h"
#include "net/pg_pool.h"

typedef struct sh_outbox_event sh_outbox_event_t;

typedef struct sh_outbox {
    sh_arena_t arena;
    sh_outbox_event_t *first, *last;
    uint32_t count;
} sh_outbox_t;

void sh_outbox_init(sh_outbox_t *outbox);
void sh_outbox_dispose(sh_outbox_t *outbox);

/* Adds an event with the payload table at `payload`. Raises what a rule does wrong: a subject that its manifest does not publish, a field that the
 * event's message does not have. The headers carry event id, type, source, correlation id, time and traceparent. */
void sh_outbox_add(lua_State *L, sh_outbox_t *outbox, sh_task_t *task, const char *subject, const char *aggregate, int payload);

/* The INSERT for all events; text and parameters live in `arena` and in the outbox. */
void sh_outbox_statement(const sh_outbox_t *outbox, const char *schema, sh_arena_t *arena, sh_pg_statement_t *out);

#endif
