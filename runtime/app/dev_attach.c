/* Reads what `shama dev` left in .shama/ and sets the configuration accordingly. */
#include "app/dev_attach.h"

#include "base/arena.h"
#include "base/err.h"
#include "codec/json.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 65536 };

static bool read_file(const char *path, sh_buf_t *out) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    out->len = fread(sh_buf_reserve(out, FILE_BYTES_MAX), 1, FILE_BYTES_MAX - 1, f);
    fclose(f);
    return out->len > 0;
}

/* Host, port and name only: who logs in is the service. */
static bool take_address(sh_config_t *config, const char *url) {
    static const struct { const char *keyword, *key; } keys[] = {{"host", "db.host"}, {"port", "db.port"}, {"dbname", "db.name"}};
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        for (size_t i = 0; i < SH_ARRAY_LEN(keys); i++)
            if (o->val && strcmp(o->keyword, keys[i].keyword) == 0) sh_config_set(config, keys[i].key, o->val);
    PQconninfoFree(options);
    return options != NULL;
}

/* "sales_db_password=..." of .shama/secrets; a password that is configured stays. */
static void take_passwords(sh_config_t *config, char *text) {
    static const char suffix[] = "_db_password=";
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char key[128], *mark = strstr(line, suffix);
        if (!mark) continue;
        snprintf(key, sizeof key, "%.*s.db.password", (int)(mark - line), line);
        const char *now = sh_map_get(&config->values, sh_str_of(key));
        if (now && !*now) sh_config_set(config, key, mark + sizeof suffix - 1);
    }
}

bool sh_dev_attach(sh_config_t *config) {
    const char *host = getenv("DB_HOST");
    sh_buf_t text = {0}, secrets = {0};
    sh_arena_t arena;
    sh_json_value_t *dev;
    sh_json_error_t problem;
    bool is_attached = false;
    if (*sh_config_str(config, "db.url") || (host && *host)) return false;
    sh_arena_init(&arena);
    if (read_file(".shama/dev.json", &text) && read_file(".shama/secrets", &secrets) &&
        sh_json_read(&arena, sh_buf_str(&text), SH_JSON_LIMITS_DEFAULT, &dev, &problem) == SH_OK) {
        const sh_json_value_t *url = sh_json_get(dev, "database_url");
        if (url && url->kind == SH_JSON_STRING)
            is_attached = take_address(config, sh_arena_printf(&arena, "%.*s", (int)url->text.len, url->text.ptr));
    }
    if (is_attached) take_passwords(config, (char *)(uintptr_t)sh_buf_c(&secrets));
    sh_arena_dispose(&arena);
    if (secrets.ptr) explicit_bzero(secrets.ptr, secrets.cap);
    sh_buf_dispose(&secrets);
    sh_buf_dispose(&text);
    return is_attached;
}
