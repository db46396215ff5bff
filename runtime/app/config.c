/* Loading a configuration: Lua files in a bare state, then the environment, then secret files. */
#include "app/config.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef SHAMA_ROOT_DEFAULT
#define SHAMA_ROOT_DEFAULT "."
#endif

enum { KEY_MAX = 128, SECRET_BYTES_MAX = 65536, SERVICE_NAME_MAX = 32, SERVICES_KNOWN_MAX = 64 };

/* Environment names, the later the stronger. Those marked are secrets or may hold one: they have a _FILE form, which wins. */
static const struct {
    const char *name, *key;
    bool has_file;
} environment[] = {
    {"NODE_ENV", "env", false},
    {"SHAMA_ENV", "env", false},
    {"HOST", "http.host", false},
    {"PORT", "http.port", false},
    {"ADMIN_PORT", "http.admin_port", false},
    {"WORKERS", "workers", false},
    {"SERVICES", "services", false},
    {"LOG_LEVEL", "log.level", false},
    {"LOG_FILE", "log.file", false},
    {"DATABASE_URL", "db.url", true},
    {"DB_HOST", "db.host", false},
    {"DB_PORT", "db.port", false},
    {"DB_NAME", "db.name", false},
    {"DB_SSLMODE", "db.sslmode", false},
    {"DB_PASSWORD", "db.password", true},
    {"DB_POOL", "db.pool", false},
    {"NATS_URL", "nats.url", true},
    {"JWT_SECRET", "jwt.secret", true},
    {"JWT_SECRET_PREVIOUS", "jwt.secret_previous", true},
    {"SHAMA_CONTROL", "control", false},
    {"BRAND_COLOR_PRIMARY", "brand.primary", false},
    {"BRAND_COLOR_SECONDARY", "brand.secondary", false},
    {"BRAND_NAME", "brand.name", false},
    {"BRAND_ADDRESS", "brand.address", false},
};

static const char *const secret_keys[] = {"db.url", "db.password", "nats.url", "jwt.secret", "jwt.secret_previous"};

/* What each service has under its name: sales.db.user. The last two have environment names, too: SALES_DB_PASSWORD, SALES_DB_POOL. */
static const struct {
    const char *suffix, *fallback; /* NULL: <service>_service_role */
    bool in_environment, has_file;
} service_keys[] = {{".db.user", NULL, false, false}, {".db.password", "", true, true}, {".db.pool", "0", true, false}};

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

bool sh_config_is_secret(const char *key) {
    for (size_t i = 0; i < SH_ARRAY_LEN(secret_keys); i++)
        if (strcmp(secret_keys[i], key) == 0) return true;
    return ends_with(key, ".db.password");
}

void sh_config_set(sh_config_t *config, const char *key, const char *value) { free(sh_map_set(&config->values, sh_str_of(key), sh_strdup(value))); }

void sh_config_dispose(sh_config_t *config) {
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&config->values, &i));) free(e->value);
    sh_map_dispose(&config->values);
    free(config->root);
    free(config->file);
    *config = (sh_config_t){0};
}

/* ---- files */

static const char *nearest_key(const sh_config_t *config, const char *key) {
    const char **names = sh_calloc(config->values.count, sizeof *names);
    size_t n = 0;
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&config->values, &i));) names[n++] = e->key;
    const char *found = sh_str_nearest(key, names, n);
    free(names);
    return found;
}

static bool is_number(const char *text) {
    int64_t n;
    return sh_str_to_i64(sh_str_of(text), &n) == SH_OK;
}

static bool is_service_name(const char *name, size_t len) {
    if (len == 0 || len >= SERVICE_NAME_MAX || name[0] < 'a' || name[0] > 'z') return false;
    for (size_t i = 0; i < len; i++)
        if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_') return false;
    return true;
}

/* The settings of a service that config/shama.lua does not know. */
static void add_service(sh_config_t *config, const char *name, size_t len) {
    for (size_t i = 0; i < SH_ARRAY_LEN(service_keys); i++) {
        char key[KEY_MAX], role[KEY_MAX];
        snprintf(key, sizeof key, "%.*s%s", (int)len, name, service_keys[i].suffix);
        snprintf(role, sizeof role, "%.*s_service_role", (int)len, name);
        if (!sh_map_get(&config->values, sh_str_of(key))) sh_config_set(config, key, service_keys[i].fallback ? service_keys[i].fallback : role);
    }
}

/* A new service needs no entry in config/shama.lua: the folder of its rules makes its settings known. */
static void know_service_of(sh_config_t *config, const char *key) {
    char path[4096];
    size_t len = strcspn(key, ".");
    if (!is_service_name(key, len) || strncmp(key + len, ".db.", 4) != 0) return;
    snprintf(path, sizeof path, "%s/rules/%.*s/service.lua", config->root, (int)len, key);
    if (access(path, R_OK) == 0) add_service(config, key, len);
}

/* Takes one value over a default of the same type. */
static int take(sh_config_t *config, const char *where, const char *key, const char *value, sh_buf_t *error) {
    const char *before = sh_map_get(&config->values, sh_str_of(key));
    if (!before) know_service_of(config, key), before = sh_map_get(&config->values, sh_str_of(key));
    if (!before) {
        const char *near = nearest_key(config, key);
        sh_buf_printf(error, "%s: unknown setting \"%s\"%s%s%s", where, key, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
        return SH_EINVAL;
    }
    bool is_bool = strcmp(before, "true") == 0 || strcmp(before, "false") == 0;
    if (is_number(before) && !is_number(value)) {
        sh_buf_printf(error, "%s: \"%s\" must be a whole number, not \"%s\"", where, key, value);
        return SH_EINVAL;
    }
    if (is_bool && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
        sh_buf_printf(error, "%s: \"%s\" must be true or false, not \"%s\"", where, key, value);
        return SH_EINVAL;
    }
    sh_config_set(config, key, value);
    return SH_OK;
}

/* Walks the table on top of the stack; keys become dotted. */
static int flatten(lua_State *L, sh_config_t *config, const char *where, const char *prefix, bool defaults, sh_buf_t *error) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        char key[KEY_MAX];
        if (lua_type(L, -2) != LUA_TSTRING) {
            sh_buf_printf(error, "%s: \"%s\" has an entry without a name", where, prefix);
            return SH_EINVAL;
        }
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", lua_tostring(L, -2));
        if (n >= (int)sizeof key) {
            sh_buf_printf(error, "%s: the name \"%s...\" is too long", where, key);
            return SH_EINVAL;
        }
        int rc = SH_OK;
        if (lua_istable(L, -1)) {
            rc = flatten(L, config, where, key, defaults, error);
        } else {
            const char *value = NULL;
            if (lua_isboolean(L, -1))
                value = lua_toboolean(L, -1) ? "true" : "false";
            else if (lua_isstring(L, -1))
                value = (lua_pushvalue(L, -1), lua_tostring(L, -1));
            if (!value) {
                sh_buf_printf(error, "%s: \"%s\" must be a text, a number or a boolean", where, key);
                return SH_EINVAL;
            }
            if (defaults)
                sh_config_set(config, key, value);
            else
                rc = take(config, where, key, value, error);
            if (!lua_isboolean(L, -1)) lua_pop(L, 1);
        }
        if (rc) return rc;
        lua_pop(L, 1);
    }
    return SH_OK;
}

static int load_file(sh_config_t *config, const char *path, bool defaults, sh_buf_t *error) {
    int rc = SH_EINVAL;
    lua_State *L = luaL_newstate();
    SH_ASSERT(L);
    if (luaL_loadfile(L, path) || lua_pcall(L, 0, 1, 0))
        sh_buf_printf(error, "%s", lua_tostring(L, -1));
    else if (!lua_istable(L, -1))
        sh_buf_printf(error, "%s: must return a table of settings", path);
    else
        rc = flatten(L, config, path, "", defaults, error);
    lua_close(L);
    return rc;
}

/* ---- environment */

static int read_secret(const char *path, sh_buf_t *out, const char *name, sh_buf_t *error) {
    FILE *f = fopen(path, "re");
    if (!f) {
        sh_buf_printf(error, "%s: cannot read %s: %s", name, path, strerror(errno));
        return SH_EINVAL;
    }
    size_t n = fread(sh_buf_reserve(out, SECRET_BYTES_MAX), 1, SECRET_BYTES_MAX, f);
    fclose(f);
    while (n && (out->ptr[n - 1] == '\n' || out->ptr[n - 1] == '\r')) n--;
    out->len = n;
    if (n == 0 || memchr(out->ptr, 0, n)) {
        sh_buf_printf(error, "%s: %s is empty or not text", name, path);
        return SH_EINVAL;
    }
    return SH_OK;
}

static int take_variable(sh_config_t *config, const char *name, const char *key, bool has_file, sh_buf_t *error) {
    char file_name[KEY_MAX];
    snprintf(file_name, sizeof file_name, "%s_FILE", name);
    const char *value = getenv(name), *path = has_file ? getenv(file_name) : NULL;
    if (!path || !*path) return value && *value ? take(config, name, key, value, error) : SH_OK;
    sh_buf_t secret = {0};
    int rc = read_secret(path, &secret, file_name, error);
    if (!rc) rc = take(config, file_name, key, sh_buf_c(&secret), error);
    if (secret.ptr) explicit_bzero(secret.ptr, secret.cap);
    sh_buf_dispose(&secret);
    return rc;
}

/* "sales", ".db.password" -> SALES_DB_PASSWORD. */
static void service_variable(const char *service, const char *suffix, char out[KEY_MAX]) {
    snprintf(out, KEY_MAX, "%s%s", service, suffix);
    for (char *c = out; *c; c++) *c = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
}

static int load_environment_of(sh_config_t *config, const char *service, sh_buf_t *error) {
    int rc = SH_OK;
    for (size_t i = 0; i < SH_ARRAY_LEN(service_keys) && !rc; i++) {
        char name[KEY_MAX], key[KEY_MAX];
        if (!service_keys[i].in_environment) continue;
        snprintf(key, sizeof key, "%s%s", service, service_keys[i].suffix);
        service_variable(service, service_keys[i].suffix, name);
        rc = take_variable(config, name, key, service_keys[i].has_file, error);
    }
    return rc;
}

static int load_environment(sh_config_t *config, sh_buf_t *error) {
    int rc = SH_OK;
    for (size_t i = 0; i < SH_ARRAY_LEN(environment) && !rc; i++)
        rc = take_variable(config, environment[i].name, environment[i].key, environment[i].has_file, error);
    if (rc) return rc;
    for (const char *at = sh_config_str(config, "services"); *at; at += strspn(at, ", ")) {
        size_t len = strcspn(at, ", ");
        if (is_service_name(at, len)) add_service(config, at, len);
        at += len;
    }
    /* Names first: setting a value may move the map. */
    char services[SERVICES_KNOWN_MAX][SERVICE_NAME_MAX];
    size_t count = 0;
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&config->values, &i));)
        if (ends_with(e->key, ".db.user") && e->key_len - 8 < SERVICE_NAME_MAX && count < SERVICES_KNOWN_MAX)
            snprintf(services[count++], SERVICE_NAME_MAX, "%.*s", (int)(e->key_len - 8), e->key);
    for (size_t i = 0; i < count && !rc; i++) rc = load_environment_of(config, services[i], error);
    return rc;
}

int sh_config_load(const char *root, const char *file, sh_config_t *out, sh_buf_t *error) {
    sh_config_t config = {0};
    char path[4096];
    if (!root) root = getenv("SHAMA_ROOT");
    if (!root || !*root) {
        snprintf(path, sizeof path, "%s/config/shama.lua", SHAMA_ROOT_DEFAULT);
        root = access(path, R_OK) == 0 ? SHAMA_ROOT_DEFAULT : ".";
    }
    config.root = realpath(root, NULL);
    if (!config.root) {
        sh_buf_printf(error, "cannot find the folder %s: set SHAMA_ROOT to the one with rules/ and config/", root);
        goto fail;
    }
    snprintf(path, sizeof path, "%s/config/shama.lua", config.root);
    if (load_file(&config, path, true, error)) goto fail;

    const char *env = getenv("SHAMA_ENV");
    if (!env || !*env) env = getenv("NODE_ENV");
    if (!file) file = getenv("SHAMA_CONFIG");
    if (file && *file) {
        if (load_file(&config, file, false, error)) goto fail;
        config.file = sh_strdup(file);
    } else if (env && *env && !strchr(env, '/')) {
        snprintf(path, sizeof path, "%s/config/%s.lua", config.root, env);
        if (access(path, R_OK) == 0) {
            if (load_file(&config, path, false, error)) goto fail;
            config.file = sh_strdup(path);
        }
    }
    if (load_environment(&config, error)) goto fail;
    *out = config;
    return SH_OK;
fail:
    sh_config_dispose(&config);
    return SH_EINVAL;
}

/* ---- reading */

const char *sh_config_str(const sh_config_t *config, const char *key) {
    const char *value = sh_map_get(&config->values, sh_str_of(key));
    if (!value) sh_panic(__FILE__, __LINE__, key);
    return value;
}

int64_t sh_config_int(const sh_config_t *config, const char *key) {
    int64_t n;
    if (sh_str_to_i64(sh_str_of(sh_config_str(config, key)), &n)) sh_panic(__FILE__, __LINE__, key);
    return n;
}

bool sh_config_bool(const sh_config_t *config, const char *key) { return strcmp(sh_config_str(config, key), "true") == 0; }

const char *sh_config_service_str(const sh_config_t *config, const char *service, const char *key) {
    char own[KEY_MAX];
    snprintf(own, sizeof own, "%s.%s", service, key);
    const char *value = sh_map_get(&config->values, sh_str_of(own));
    return value && *value && strcmp(value, "0") != 0 ? value : sh_config_str(config, key);
}

int64_t sh_config_service_int(const sh_config_t *config, const char *service, const char *key) {
    int64_t n;
    if (sh_str_to_i64(sh_str_of(sh_config_service_str(config, service, key)), &n)) sh_panic(__FILE__, __LINE__, key);
    return n;
}

/* Netstring-like pairs "klen:vlen:keyvalue": exact for any byte. */
void sh_config_write(const sh_config_t *config, sh_buf_t *out) {
    sh_map_entry_t *e;
    sh_buf_printf(out, "root:%zu:%s", strlen(config->root), config->root);
    for (size_t i = 0; (e = sh_map_next(&config->values, &i));)
        sh_buf_printf(out, "%zu:%zu:%s%s", e->key_len, strlen(e->value), e->key, (const char *)e->value);
}

static bool take_length(sh_str_t *text, size_t *length) {
    char *end;
    const char *colon = memchr(text->ptr, ':', text->len);
    if (!colon) return false;
    *length = strtoul(text->ptr, &end, 10);
    if (end != colon) return false;
    size_t used = (size_t)(colon + 1 - text->ptr);
    text->ptr += used, text->len -= used;
    return true;
}

static char *take_text(sh_str_t *text, size_t length) {
    if (length > text->len) return NULL;
    char *copy = sh_alloc(length + 1);
    memcpy(copy, text->ptr, length);
    copy[length] = 0;
    text->ptr += length, text->len -= length;
    return copy;
}

int sh_config_read(sh_str_t text, sh_config_t *out) {
    sh_config_t config = {0};
    size_t key_len, value_len;
    if (!sh_str_has_prefix(text, SH_STR("root:"))) return SH_EINVAL;
    text.ptr += 5, text.len -= 5;
    if (!take_length(&text, &value_len) || !(config.root = take_text(&text, value_len))) goto fail;
    while (text.len) {
        if (!take_length(&text, &key_len) || !take_length(&text, &value_len)) goto fail;
        char *key = take_text(&text, key_len), *value = key ? take_text(&text, value_len) : NULL;
        if (value) free(sh_map_set(&config.values, sh_str(key, key_len), value));
        free(key);
        if (!value) goto fail;
    }
    *out = config;
    return SH_OK;
fail:
    sh_config_dispose(&config);
    return SH_EINVAL;
}

void sh_config_diff(const sh_config_t *before, const sh_config_t *after, sh_buf_t *names) {
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&after->values, &i));) {
        const char *old = sh_map_get(&before->values, sh_str(e->key, e->key_len));
        if (old && strcmp(old, e->value) == 0) continue;
        if (names->len) sh_buf_put_byte(names, '\n');
        sh_buf_put(names, e->key, e->key_len);
    }
}

/* ---- database */

static void put_conninfo(sh_buf_t *out, const char *key, const char *value) {
    if (!value || !*value) return;
    if (out->len) sh_buf_put_byte(out, ' ');
    sh_buf_printf(out, "%s='", key);
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\') sh_buf_put_byte(out, '\\');
        sh_buf_put_byte(out, *value);
    }
    sh_buf_put_byte(out, '\'');
}

/* postgres://user:password@host:port/name?sslmode=x, percent-encoded; what it does not name comes from `db`. */
typedef struct url_parts {
    char text[2048];
    const char *user, *password, *host, *port, *name, *query;
} url_parts_t;

static void percent_decode(char *text) {
    char *out = text;
    for (; *text; text++, out++) {
        unsigned byte;
        if (*text == '%' && text[1] && text[2] && sscanf(text + 1, "%2x", &byte) == 1)
            *out = (char)byte, text += 2;
        else
            *out = *text;
    }
    *out = 0;
}

static bool split_url(const char *url, url_parts_t *p) {
    const char *rest = strstr(url, "://");
    *p = (url_parts_t){0};
    if (!rest || strlen(rest) >= sizeof p->text) return false;
    snprintf(p->text, sizeof p->text, "%s", rest + 3);
    char *s = p->text, *mark;
    if ((mark = strchr(s, '?'))) *mark = 0, p->query = mark + 1;
    if ((mark = strchr(s, '/'))) *mark = 0, p->name = mark + 1;
    if ((mark = strrchr(s, '@'))) {
        *mark = 0;
        p->user = s;
        s = mark + 1;
        char *colon = strchr((char *)p->user, ':');
        if (colon) *colon = 0, p->password = colon + 1;
    }
    p->host = s;
    if (*s == '[' && (mark = strchr(s, ']'))) {
        *mark = 0;
        p->host = s + 1;
        s = mark + 1;
    }
    if ((mark = strrchr(s, ':'))) *mark = 0, p->port = mark + 1;
    const char *decoded[] = {p->user, p->password, p->host, p->name};
    for (size_t i = 0; i < SH_ARRAY_LEN(decoded); i++)
        if (decoded[i]) percent_decode((char *)decoded[i]);
    return true;
}

void sh_config_conninfo(const sh_config_t *config, const char *service, sh_buf_t *out) {
    url_parts_t url = {0};
    const char *address = sh_config_str(config, "db.url");
    bool has_url = *address && split_url(address, &url);
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.db.user", service);
    const char *user = sh_config_str(config, key);
    snprintf(key, sizeof key, "%s.db.password", service);
    const char *password = sh_config_str(config, key);
    if (!*password) password = sh_config_str(config, "db.password");
    put_conninfo(out, "host", has_url && url.host && *url.host ? url.host : sh_config_str(config, "db.host"));
    put_conninfo(out, "port", has_url ? (url.port ? url.port : "5432") : sh_config_str(config, "db.port"));
    put_conninfo(out, "dbname", has_url && url.name && *url.name ? url.name : sh_config_str(config, "db.name"));
    put_conninfo(out, "user", user);
    put_conninfo(out, "password", password);
    const char *sslmode = url.query ? strstr(url.query, "sslmode=") : NULL;
    if (sslmode) {
        char mode[32];
        snprintf(mode, sizeof mode, "%.*s", (int)strcspn(sslmode + 8, "&"), sslmode + 8);
        put_conninfo(out, "sslmode", mode);
    } else {
        put_conninfo(out, "sslmode", sh_config_str(config, "db.sslmode"));
    }
}
