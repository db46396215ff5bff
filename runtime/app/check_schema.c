/* One connection and one SELECT (bounded by reload.check_ms); for all services, since every login may read the list of migrations. */
#include "app/check_schema.h"

#include "base/err.h"

#include <libpq-fe.h>
#include <stdlib.h>

enum { CONNECT_S = 3 };

static int compare(const PGresult *rows, const sh_manifest_t *m, sh_buf_t *error) {
    int has = 0;
    for (int i = 0; i < PQntuples(rows); i++)
        if (strcmp(PQgetvalue(rows, i, 0), m->name) == 0) has = atoi(PQgetvalue(rows, i, 1));
    if (!m->schema_version || m->schema_version == has) return SH_OK;
    sh_buf_printf(error, "rules/%s/service.lua: schema_version is %d, but the newest migration of %s in the database is %d: ", m->name,
                  m->schema_version, m->name, has);
    if (has < m->schema_version)
        sh_buf_put_lit(error, "run `shama migrate up` first");
    else
        sh_buf_put_lit(error, "these rules were written for an older schema; see whether they fit and set schema_version");
    return SH_EINVAL;
}

static void warn(sh_buf_t *warnings, const char *reason) {
    size_t len = strcspn(reason, "\n");
    sh_buf_printf(warnings, "%sschema versions were not compared: %.*s", warnings->len ? "\n" : "", (int)len, reason);
}

int sh_check_schemas(const sh_config_t *config, const sh_generation_t *g, sh_buf_t *warnings, sh_buf_t *error) {
    static const char sql[] = "SELECT schema, max(version) FROM public.shama_migrations GROUP BY schema";
    sh_buf_t conninfo = {0};
    int rc = SH_OK;
    if (g->vm_count == 0) return SH_OK;
    sh_config_conninfo(config, sh_vm_service(g->vms[0]), &conninfo);
    sh_buf_printf(&conninfo, " connect_timeout=%d", CONNECT_S);
    PGconn *conn = PQconnectdb(sh_buf_c(&conninfo));
    explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
    PGresult *rows = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, sql) : NULL;
    if (!rows || PQresultStatus(rows) != PGRES_TUPLES_OK)
        warn(warnings, PQerrorMessage(conn));
    else
        for (uint32_t i = 0; i < g->vm_count && !rc; i++) rc = compare(rows, sh_vm_manifest(g->vms[i]), error);
    PQclear(rows);
    PQfinish(conn);
    return rc;
}
