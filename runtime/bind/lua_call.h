/* A call from the edge becomes a Lua function call, and what the function returns or raises becomes a reply. */
#ifndef SH_LUA_CALL_H
#define SH_LUA_CALL_H

#include "host/call.h"

/* A sh_call_start_fn: starts the route's handler as a task of call->vm with the request table of docs/reference/lua-api.md.
 * `fn` runs exactly once, perhaps before this returns. */
void sh_lua_call_start(sh_call_t *call, sh_call_done_fn fn, void *data);

/* Turns what a task raised into a refusal or an internal error; for calls and events. The value is on top of L and is popped.
 * `arena` gets the slices; `log_as` names the work in the log line of an unexpected error. Must run outside of the failed coroutine. */
void sh_lua_call_explain(sh_vm_t *vm, lua_State *L, const char *language, sh_arena_t *arena, sh_reply_t *reply);

#endif
