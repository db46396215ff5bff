/* Row sets and rows in Lua: columns are decoded when a rule looks at them, and JSON is written past Lua where none did. */
#ifndef SH_LUA_ROWS_H
#define SH_LUA_ROWS_H

#include "host/task.h"
#include "net/pg_rows.h"

/* Once a state. */
void sh_lua_rows_init(lua_State *L);

/* Pushes a row set that ends with the task; retains `rows`. */
void sh_lua_rows_push(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows);
/* Pushes the row, or nil when there is none. */
void sh_lua_rows_push_row(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows, uint32_t row);
/* Pushes one column's value: see docs/reference/lua-api.md, shama.db. */
void sh_lua_rows_push_value(lua_State *L, const sh_pg_rows_t *rows, uint32_t row, uint32_t column);

/* Writes a row or a row set as JSON. NULL: it was one, *rc tells how it went. Else why the userdata cannot be written. */
const char *sh_lua_rows_write(lua_State *L, int index, sh_buf_t *out, char *error, size_t error_size, int depth, int *rc);

#endif
