/* Sending a flight: which statements may travel, each by its name where the server knows it, in one order with BEGIN, COMMIT and the Sync.
 *
 * The first use of a statement sends its Parse in the same flight, one round trip in all. */
#include "net/pg_conn.h"

#include "base/err.h"

#include <stdlib.h>

enum { UNSYNCED_BYTES = 32768 /* of texts and parameters; past it libpq may write before the Sync */ };

int sh_pg_statements_check(const sh_pg_statement_t *statements, uint32_t count, unsigned flags) {
    if (count > SH_PG_FLIGHT_MAX) return SH_EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        sh_pg_sql_kind_t kind = sh_pg_sql_kind(statements[i].sql);
        if (statements[i].param_count > SH_PG_PARAMS_MAX || kind == SH_PG_SQL_COPY) return SH_EINVAL;
        if (kind == SH_PG_SQL_CONTROL && !(flags & SH_PG_INTERNAL)) return SH_EINVAL;
    }
    return SH_OK;
}

static void add_command(sh_pg_flight_t *flight, int kind, int32_t statement, sh_pg_prepared_t *prepared) {
    if (flight->command_count == flight->command_cap) {
        size_t cap = flight->command_cap * 2;
        if (flight->commands == flight->inline_commands) {
            flight->commands = sh_alloc(cap * sizeof *flight->commands);
            memcpy(flight->commands, flight->inline_commands, sizeof flight->inline_commands);
        } else {
            flight->commands = sh_realloc(flight->commands, cap * sizeof *flight->commands);
        }
        flight->command_cap = (uint32_t)cap;
    }
    if (prepared) sh_pg_prepared_pin(prepared);
    flight->commands[flight->command_count++] = (sh_pg_command_t){prepared, statement, kind};
}

/* Sends one statement: by its name where the server knows it for sure, else with its Parse ahead, else unprepared. */
static void put(sh_pg_conn_t *conn, sh_pg_flight_t *flight, sh_pg_prepared_t *p, const sh_pg_statement_t *s, int kind, int32_t index) {
    int n = (int)s->param_count;
    if (conn->is_doomed) return;
    if (p && p->state == SH_PG_PREPARED_SENT && p->sender != flight) p = NULL;
    if (p && p->state == SH_PG_PREPARED_NEW) {
        if (!PQsendPrepare(conn->pg, p->name, p->sql, 0, NULL)) goto fail;
        p->state = SH_PG_PREPARED_SENT;
        p->sender = flight;
        add_command(flight, SH_PG_CMD_PARSE, index, p);
    }
    if (p) {
        if (!PQsendQueryPrepared(conn->pg, p->name, n, s->params, NULL, NULL, flight->is_binary)) goto fail;
    } else {
        char *sql = strndup(s->sql.ptr, s->sql.len); /* libpq wants a NUL */
        SH_ASSERT(sql);
        int sent = PQsendQueryParams(conn->pg, sql, n, NULL, s->params, NULL, NULL, flight->is_binary);
        free(sql);
        if (!sent) goto fail;
    }
    add_command(flight, kind, index, p);
    return;
fail:
    conn->is_doomed = true; /* told at the turn's end */
}

static void put_own(sh_pg_conn_t *conn, sh_pg_flight_t *flight, int kind, const char *sql) {
    const sh_pg_statement_t statement = {.sql = sh_str_of(sql)};
    sh_pg_prepared_t *p = kind == SH_PG_CMD_DEALLOCATE ? NULL : sh_pg_prepared_find(&conn->prepared, statement.sql);
    put(conn, flight, p, &statement, kind, -1);
}

static void start_flight(sh_pg_conn_t *conn, sh_pg_flight_t *flight, uint32_t count, sh_pg_flight_fn fn, void *data) {
    sh_pg_conn_sync_early(conn); /* another one of this turn */
    flight->fn = fn;
    flight->data = data;
    flight->command_count = flight->done = 0;
    flight->command_cap = SH_PG_INLINE_COMMANDS;
    flight->statement_count = count;
    flight->is_sent = flight->is_binary = false;
    flight->has_effect = true;
    flight->failed_statement = -1;
    flight->failure = NULL;
    flight->commands = flight->inline_commands;
    flight->rows = count <= SH_PG_INLINE_ROWS ? flight->inline_rows : sh_alloc(count * sizeof *flight->rows);
    memset(flight->rows, 0, count * sizeof *flight->rows);
    sh_list_init(&flight->link);
    if (sh_list_is_empty(&conn->flights)) {
        conn->progress_ms = uv_now(conn->loop);
        conn->first_statements = count;
    }
    sh_list_link(&conn->flights, &flight->link);
    conn->flight_count++;
    conn->unsynced = flight;
    sh_pg_conn_want_write(conn);
}

typedef struct sweeping {
    sh_pg_flight_t flight;
} sweeping_t;

static void on_swept(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    (void)status, (void)rows, (void)count, (void)error;
    free(data);
}

/* Statements given up are forgotten at the server too, in a flight of their own. */
static void sweep_garbage(sh_pg_conn_t *conn) {
    sweeping_t *sweeping = sh_alloc(sizeof *sweeping);
    start_flight(conn, &sweeping->flight, 0, on_swept, sweeping);
    sh_list_each(it, tmp, &conn->prepared.garbage) {
        sh_pg_garbage_t *g = SH_CONTAINER_OF(it, sh_pg_garbage_t, link);
        put_own(conn, &sweeping->flight, SH_PG_CMD_DEALLOCATE, g->sql);
        sh_list_unlink(&g->link);
        free(g);
    }
}

static int check_kinds(sh_pg_conn_t *conn, const sh_pg_statement_t *statements, uint32_t count, unsigned flags) {
    if (count > SH_PG_FLIGHT_MAX) return SH_EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        const sh_pg_prepared_t *p = sh_pg_prepared_find(&conn->prepared, statements[i].sql);
        sh_pg_sql_kind_t kind = p ? p->kind : sh_pg_sql_kind(statements[i].sql);
        if (statements[i].param_count > SH_PG_PARAMS_MAX || kind == SH_PG_SQL_COPY) return SH_EINVAL;
        if (kind == SH_PG_SQL_CONTROL && !(flags & SH_PG_INTERNAL)) return SH_EINVAL;
    }
    return SH_OK;
}

int sh_pg_conn_send(sh_pg_conn_t *conn, sh_pg_flight_t *flight, const sh_pg_statement_t *statements, uint32_t count, unsigned flags,
                    const char *begin_sql, sh_pg_flight_fn fn, void *data) {
    if (!conn->pg || conn->is_doomed) return SH_EUNAVAILABLE;
    int rc = check_kinds(conn, statements, count, flags);
    if (rc) return rc;
    bool is_inside = conn->in_transaction || (flags & SH_PG_BEGIN);
    if (!sh_list_is_empty(&conn->prepared.garbage) && !conn->in_transaction) sweep_garbage(conn);
    start_flight(conn, flight, count, fn, data);
    flight->has_effect = !is_inside || (flags & SH_PG_COMMIT);
    flight->is_binary = flags & SH_PG_BINARY_ROWS;
    if (flags & SH_PG_BEGIN) put_own(conn, flight, SH_PG_CMD_BEGIN, begin_sql);
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        put(conn, flight, sh_pg_prepared_find(&conn->prepared, statements[i].sql), &statements[i], SH_PG_CMD_RUN, (int32_t)i);
        bytes += statements[i].sql.len;
        for (uint32_t k = 0; k < statements[i].param_count; k++) bytes += statements[i].params[k] ? strlen(statements[i].params[k]) : 0;
    }
    if (flags & SH_PG_COMMIT) put_own(conn, flight, SH_PG_CMD_COMMIT, "COMMIT");
    if (flags & SH_PG_ROLLBACK) put_own(conn, flight, SH_PG_CMD_ROLLBACK, "ROLLBACK");
    if (bytes > UNSYNCED_BYTES) {
        flight->is_sent = conn->has_unread = true; /* libpq wrote some of it already, and may have read */
        sh_pg_conn_want_write(conn);
    }
    return SH_OK;
}
