/* Lua tables to protobuf messages and back: how events cross between rules and the wire.
 *
 *   protobuf                        Lua, to the wire                                 Lua, from the wire
 *   string                          string (UTF-8, no NUL), decimal (all its places)  string, "" when unset
 *   bytes                           string                                           string
 *   bool                            boolean                                          boolean
 *   double, float                   number, decimal                                  number
 *   int32, uint32                   whole number in range                            number
 *   int64, uint64                   whole number below 2^53, decimal digits as text  number below 2^53, else text
 *   enum                            name of a value                                  name, or the number of an unknown one
 *   message                         table                                            table, nil when unset
 *   repeated                        list without holes                               list
 *
 * nil, json.null and a missing key are the default. A field with presence (`optional`) comes back as nil when unset. */
#ifndef SH_LUA_PROTOBUF_H
#define SH_LUA_PROTOBUF_H

#include "codec/protobuf.h"

#include <lua.h>

/* Encodes the table at `idx` as such a message; `out` is lent until the next call in this state. SH_EINVAL with a sentence in `err` that names the
 * place ("line_items[2].quantity: expected int32, got string"); SH_ELIMIT: too large. Frozen tables are taken as the tables they are. Calls no
 * metamethod; may raise for lack of memory only. The message's set must live as long as the state, which keeps the names of its fields. */
int sh_lua_protobuf_encode(lua_State *L, int idx, const sh_protobuf_message_t *message, sh_str_t *out, char *err, size_t err_size) SH_MUSTCHECK;

/* Fields of a message by their place: a bit each. */
typedef struct sh_lua_protobuf_fields {
    uint64_t bits[SH_PROTOBUF_FIELDS_MAX / 64];
    uint32_t count;
} sh_lua_protobuf_fields_t;

/* Adds a field; names that the message does not have are passed over. */
void sh_lua_protobuf_fields_add(sh_lua_protobuf_fields_t *fields, const sh_protobuf_message_t *message, sh_str_t name);

/* Pushes the decoded message as a table; with `only`, no other fields of it (those of messages inside are all there), though all are checked.
 * SH_EINVAL: the bytes are no such message; SH_ELIMIT; nothing is pushed then. May raise for lack of memory only. */
int sh_lua_protobuf_push(lua_State *L, const sh_protobuf_message_t *message, const sh_lua_protobuf_fields_t *only, sh_str_t bytes) SH_MUSTCHECK;

#endif
