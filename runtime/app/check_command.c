/* `shama check`: all findings about the rules on the disk, for people, editors and CI. */
#include "app/commands.h"
#include "app/inspect.h"
#include "app/options.h"

#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "Usage: shama check [--format text|json] [--database URL] [--strict]\n\n"
    "Reads configuration and rules, loads every service as a reload would, and tells all that is wrong, without touching what runs:\n"
    "syntax, luacheck, manifests, messages in both languages, refusals, roles, states, SQL outside of stores, gate specs.\n\n"
    "  --database URL   also prepares every statement of the stores there, as each service's role (default: DATABASE_URL or DB_HOST, if set)\n"
    "  --format json    an array of {file, line, code, message, severity}\n"
    "  --strict         warnings count like errors\n\n"
    "Exit code 0: no error. 1: findings. 2: wrong usage.\n";

static void print_text(const sh_findings_t *findings, const sh_bundle_t *bundle) {
    bool colour = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    sh_findings_print(findings, stderr, colour);
    if (bundle && !findings->count)
        printf("rules %.12s: %zu files, no finding\n", sh_bundle_version(bundle), sh_bundle_count(bundle));
    else
        printf("%zu errors, %zu warnings\n", sh_findings_errors(findings), findings->count - sh_findings_errors(findings));
}

int sh_command_check(int argc, char **argv) {
    const char *format = "text", *database = NULL;
    bool is_strict = false;
    const sh_option_t options[] = {{"--format", &format, NULL}, {"--database", &database, NULL}, {"--strict", NULL, &is_strict}};
    argc = sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), help);
    bool is_json = strcmp(format, "json") == 0;
    if (argc != 1 || (!is_json && strcmp(format, "text") != 0)) {
        if (argc >= 0) fputs(help, stderr);
        return 2;
    }
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    const char *host = getenv("DB_HOST");
    if (database) sh_config_set(config, "db.url", database);
    const sh_inspect_opts_t opts = {
        .config = config, .with_database = *sh_config_str(config, "db.url") || (host && *host), .database_must = database != NULL};
    sh_findings_t findings;
    sh_bundle_t *bundle = NULL;
    sh_findings_init(&findings);
    sh_inspect(&opts, &findings, &bundle);
    if (is_json) {
        sh_buf_t out = {0};
        sh_findings_put_json(&findings, &out);
        fwrite(out.ptr, 1, out.len, stdout);
        sh_buf_dispose(&out);
    } else {
        print_text(&findings, bundle);
    }
    int code = sh_findings_errors(&findings) || (is_strict && findings.count) ? 1 : 0;
    if (bundle) sh_bundle_release(bundle);
    sh_findings_dispose(&findings);
    sh_config_dispose(config);
    free(config);
    return code;
}
