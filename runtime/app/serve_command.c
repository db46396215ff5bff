/* `shama serve`, `version` and `token`. */
#include "app/commands.h"
#include "app/master.h"
#include "app/options.h"
#include "app/serve.h"
#include "base/err.h"
#include "base/time.h"
#include "codec/jwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char serve_help[] =
    "Usage: shama serve [--services LIST] [--workers N] [--port N]\n\n"
    "Serves the rules in rules/ with the Postgres and NATS that the configuration names, until SIGTERM.\n"
    "  --services LIST  comma-separated: identity,inventory,crm,sales (default: all)\n"
    "  --workers N      processes (default: as many as cores)\n"
    "  --port N         where to listen\n"
    "Signals: HUP reloads rules and settings, USR1 opens the log file again, TERM finishes what is in flight and ends.\n";
static const char token_help[] =
    "Usage: shama token --sub USER_ID [--roles SALES,ADMIN] [--ttl SECONDS]\n\n"
    "Prints an access token signed with jwt.secret. The user must exist; effective are those roles that the database has too.\n";

int sh_serve(sh_config_t *config) {
    const char *secret = sh_config_str(config, "jwt.secret");
    if (strlen(secret) < SH_JWT_SECRET_MIN) {
        fprintf(stderr, "shama: jwt.secret must have at least %d bytes: set JWT_SECRET_FILE or JWT_SECRET\n", SH_JWT_SECRET_MIN);
        return 1;
    }
    return sh_master_run(config);
}

int sh_command_serve(int argc, char **argv) {
    const char *services = NULL, *workers = NULL, *port = NULL;
    const sh_option_t options[] = {{"--services", &services, NULL}, {"--workers", &workers, NULL}, {"--port", &port, NULL}};
    argc = sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), serve_help);
    if (argc != 1) return 2;
    /* Through the environment, so that a reload sees them again. */
    if (services) setenv("SERVICES", services, 1);
    if (workers) setenv("WORKERS", workers, 1);
    if (port) setenv("PORT", port, 1);
    sh_config_t *config = sh_options_config();
    return config ? sh_serve(config) : 1;
}

int sh_command_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    puts("shama " SHAMA_VERSION);
    return 0;
}

int sh_command_token(int argc, char **argv) {
    const char *sub = NULL, *roles = "", *ttl = "900";
    const sh_option_t options[] = {{"--sub", &sub, NULL}, {"--roles", &roles, NULL}, {"--ttl", &ttl, NULL}};
    if (sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), token_help) != 1) return 2;
    int64_t seconds;
    if (!sub || !sh_str_is_uuid(sh_str_of(sub)) || sh_str_to_i64(sh_str_of(ttl), &seconds) || seconds < 1) {
        fputs(token_help, stderr);
        return 2;
    }
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    sh_jwt_keys_t *keys = NULL;
    sh_buf_t claims = {0}, token = {0};
    int code = 1;
    if (sh_jwt_keys_create(sh_str_of(sh_config_str(config, "jwt.secret")), SH_STR_NULL, &keys)) {
        fprintf(stderr, "shama: jwt.secret must have at least %d bytes\n", SH_JWT_SECRET_MIN);
        goto done;
    }
    int64_t now = sh_time_wall_us() / 1000000;
    sh_buf_printf(&claims, "{\"sub\":\"%s\",\"iat\":%lld,\"exp\":%lld,\"roles\":[", sub, (long long)now, (long long)(now + seconds));
    char *copy = sh_strdup(roles), *save = NULL;
    int n = 0;
    for (char *role = strtok_r(copy, ",", &save); role; role = strtok_r(NULL, ",", &save)) {
        if (n++) sh_buf_put_byte(&claims, ',');
        sh_buf_put_json(&claims, sh_str_of(role));
    }
    free(copy);
    sh_buf_put_lit(&claims, "]}");
    if (sh_jwt_sign_hs256(keys, sh_buf_str(&claims), &token))
        fprintf(stderr, "shama: the token would be too long\n");
    else
        code = 0, puts(sh_buf_c(&token));
done:
    sh_jwt_keys_destroy(keys);
    sh_buf_dispose(&claims);
    sh_buf_dispose(&token);
    sh_config_dispose(config);
    free(config);
    return code;
}
