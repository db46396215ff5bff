/* One statement, and its row as the edge wants it. */
#include "app/user_lookup.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct lookup {
    sh_user_status_fn fn;
    void *data;
} lookup_t;

/* "{ADMIN,SALES}" of a text[]; names with other characters than letters and _ do not occur (a check constraint). */
static void take_roles(sh_str_t array, sh_user_status_t *user) {
    const char *p = array.ptr, *end = array.ptr + array.len;
    while (p < end && user->role_count < SH_ROLES_MAX) {
        while (p < end && (*p == '{' || *p == ',' || *p == '"')) p++;
        const char *from = p;
        while (p < end && *p != ',' && *p != '}' && *p != '"') p++;
        if (p == from) break;
        snprintf(user->roles[user->role_count++], sizeof user->roles[0], "%.*s", (int)(p - from), from);
        while (p < end && (*p == '"' || *p == '}')) p++;
    }
}

static void looked_up(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error) {
    lookup_t lookup = *(lookup_t *)data;
    sh_user_status_t user = {0};
    (void)error;
    free(data);
    if (!status && rows->row_count) {
        user.exists = true;
        user.disabled = sh_pg_rows_text(rows, 0, 0).ptr[0] == 't';
        take_roles(sh_pg_rows_text(rows, 0, 1), &user);
        if (!sh_pg_rows_is_null(rows, 0, 2)) {
            sh_str_t id = sh_pg_rows_text(rows, 0, 2);
            snprintf(user.customer_id, sizeof user.customer_id, "%.*s", (int)id.len, id.ptr);
        }
    }
    lookup.fn(lookup.data, status, status ? NULL : &user);
}

int sh_user_lookup(sh_pg_pool_t *pool, sh_str_t user_id, sh_user_status_fn fn, void *fn_data) {
    static const char sql[] = "SELECT disabled, roles, customer_id FROM identity.user_status WHERE id = $1";
    char id[37];
    const char *params[] = {id};
    sh_pg_ticket_t *ticket;
    if (user_id.len != 36) return SH_EINVAL;
    snprintf(id, sizeof id, "%.*s", 36, user_id.ptr);
    lookup_t *lookup = sh_alloc(sizeof *lookup);
    *lookup = (lookup_t){fn, fn_data};
    const sh_pg_statement_t statement = {SH_STR(sql), 1, params};
    int rc = sh_pg_pool_query(pool, &statement, looked_up, lookup, &ticket);
    if (rc) free(lookup);
    return rc;
}
