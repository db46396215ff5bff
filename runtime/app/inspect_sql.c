/* Asks the database whether it would take each statement of the stores: prepared under the service's role for columns and types, and explained for
 * its rights, which are looked at only then. Nothing is executed, and the transaction is rolled back. */
#include "app/inspect.h"

#include "app/migrate.h"
#include "base/err.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_S = 5, WORD_MAX = 128 };

/* ---- where in the file */

static long line_at(sh_str_t text, const char *at) {
    long line = 1;
    for (const char *c = text.ptr; c < at; c++) line += *c == '\n';
    return line;
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The line of `word` when it stands in the file once, else `fallback`. */
static long line_of_word(sh_str_t text, const char *word, size_t len, long fallback) {
    const char *found = NULL, *end = text.ptr + text.len;
    for (const char *at = text.ptr; len && (at = memmem(at, (size_t)(end - at), word, len)); at++) {
        if ((at > text.ptr && is_word(at[-1])) || (at + len < end && is_word(at[len]))) continue;
        if (found) return fallback;
        found = at;
    }
    return found ? line_at(text, found) : fallback;
}

/* Postgres counts characters; the word that it points at, or what a message quotes. */
static long place_of(const sh_inspect_statement_t *s, const PGresult *result) {
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION), *at = s->sql;
    if (!position) return s->line;
    for (long n = strtol(position, NULL, 10) - 1; n > 0 && *at; at++)
        if (((unsigned char)at[1] & 0xC0) != 0x80) n--;
    size_t len = 0;
    while (is_word(at[len]) || (at[len] == '.' && len)) len++;
    const char *dot = memrchr(at, '.', len);
    long line = line_of_word(s->source, at, len, 0);
    if (!line && dot) line = line_of_word(s->source, dot + 1, len - (size_t)(dot + 1 - at), 0);
    return line ? line : s->line;
}

/* ---- the connection */

/* As the service logs in, else by the address that was given and SET ROLE. */
static PGconn *connect_as(const sh_config_t *config, const char *service, sh_buf_t *error) {
    sh_buf_t text = {0};
    char key[96];
    sh_config_conninfo(config, service, &text);
    sh_buf_printf(&text, " connect_timeout=%d client_encoding='UTF8'", CONNECT_S);
    PGconn *conn = PQconnectdb(sh_buf_c(&text));
    explicit_bzero(text.ptr, text.cap);
    sh_buf_clear(&text);
    if (PQstatus(conn) == CONNECTION_OK) goto done;
    PQfinish(conn);
    conn = NULL;
    if (sh_migrate_connect(config, *sh_config_str(config, "db.url") ? sh_config_str(config, "db.url") : NULL, &conn, error)) goto done;
    snprintf(key, sizeof key, "%s.db.user", service);
    char *role = PQescapeIdentifier(conn, sh_config_str(config, key), strlen(sh_config_str(config, key)));
    sh_buf_printf(&text, "SET ROLE %s", role);
    PGresult *result = PQexec(conn, sh_buf_c(&text));
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        sh_buf_printf(error, "cannot act as %s: %s; give the service's password, or the address of a login that may SET ROLE",
                      sh_config_str(config, key), PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
        PQfinish(conn);
        conn = NULL;
    }
    PQclear(result);
    PQfreemem(role);
done:
    sh_buf_dispose(&text);
    return conn;
}

static void report(const sh_inspect_statement_t *s, const PGresult *result, sh_findings_t *findings) {
    sh_buf_t message = {0};
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY), *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT),
               *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool is_denied = state && strcmp(state, "42501") == 0;
    sh_buf_printf(&message, "%s: %s", s->key, text ? text : PQresultErrorMessage(result));
    if (hint) sh_buf_printf(&message, " (%s)", hint);
    sh_buf_put_c(&message, is_denied ? "; grant it by a migration, or ask for a view" : "; correct the statement, or migrate the database first");
    sh_findings_add(findings, SH_SEVERITY_ERROR, is_denied ? "sql-denied" : "sql", s->file, place_of(s, result), sh_buf_c(&message));
    sh_buf_dispose(&message);
}

/* EXPLAIN EXECUTE with NULL for every parameter. */
static PGresult *explain(PGconn *conn) {
    sh_buf_t text = {0};
    PGresult *described = PQdescribePrepared(conn, "checked");
    int params = PQnparams(described);
    PQclear(described);
    sh_buf_put_lit(&text, "EXPLAIN EXECUTE checked");
    for (int i = 0; i < params; i++) sh_buf_put_c(&text, i ? ", NULL" : "(NULL");
    if (params) sh_buf_put_byte(&text, ')');
    PGresult *result = PQexec(conn, sh_buf_c(&text));
    sh_buf_dispose(&text);
    return result;
}

static void check_statement(PGconn *conn, const sh_inspect_statement_t *s, sh_findings_t *findings) {
    PQclear(PQexec(conn, "SAVEPOINT statement"));
    PGresult *result = PQprepare(conn, "checked", s->sql, 0, NULL);
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        PQclear(result);
        result = explain(conn);
        PQclear(PQexec(conn, PQresultStatus(result) == PGRES_TUPLES_OK ? "DEALLOCATE checked" : "ROLLBACK TO statement; DEALLOCATE checked"));
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        if (state && strcmp(state, "42501") == 0) report(s, result, findings); /* that NULL is no good value says nothing */
    } else {
        report(s, result, findings);
        PQclear(PQexec(conn, "ROLLBACK TO statement"));
    }
    PQclear(result);
}

void sh_inspect_sql(const sh_inspect_opts_t *opts, const sh_inspect_statement_t *statements, size_t count, sh_findings_t *findings) {
    sh_severity_t severity = opts->database_must ? SH_SEVERITY_ERROR : SH_SEVERITY_WARNING;
    for (size_t i = 0; i < count;) {
        const char *service = statements[i].service;
        sh_buf_t error = {0};
        PGconn *conn = connect_as(opts->config, service, &error);
        if (!conn)
            sh_findings_add(findings, severity, "database", statements[i].file, 0, sh_buf_c(&error));
        else
            PQclear(PQexec(conn, "BEGIN"));
        for (; i < count && statements[i].service == service; i++)
            if (conn) check_statement(conn, &statements[i], findings);
        if (conn) PQclear(PQexec(conn, "ROLLBACK"));
        PQfinish(conn);
        sh_buf_dispose(&error);
    }
}
