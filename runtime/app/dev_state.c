/* The folder of a development setup. */
#include "app/dev_state.h"

#include "base/err.h"
#include "codec/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_BYTES = 24, SECRETS_FILE_MAX = 16384 };

void sh_dev_state_path(const sh_dev_state_t *state, const char *name, char *out) {
    snprintf(out, SH_DEV_PATH_MAX + 64, "%s/%s", state->folder, name);
}

static int fail(sh_buf_t *error, const char *what, const char *path) {
    sh_buf_printf(error, "cannot %s %s: %s", what, path, strerror(errno));
    return SH_EIO;
}

/* ---- lock */

static int take_lock(sh_dev_state_t *state, sh_buf_t *error) {
    char path[SH_DEV_PATH_MAX + 64], text[16] = "";
    sh_dev_state_path(state, "lock", path);
    state->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state->lock < 0) return fail(error, "open", path);
    if (flock(state->lock, LOCK_EX | LOCK_NB) == 0) {
        int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        if (ftruncate(state->lock, 0) == 0 && pwrite(state->lock, text, (size_t)n, 0) == n) return SH_OK;
        return fail(error, "write", path);
    }
    ssize_t n = pread(state->lock, text, sizeof text - 1, 0);
    sh_buf_printf(error, "`shama dev` already runs in this folder (process %.*s): stop it first, addresses are in %s/dev.json",
                  n > 0 ? (int)strcspn(text, "\n") : 1, n > 0 ? text : "?", state->folder);
    close(state->lock);
    state->lock = -1;
    return SH_EIO;
}

/* ---- secrets: lines of name=value */

static int read_secrets(sh_dev_state_t *state, sh_buf_t *error) {
    char path[SH_DEV_PATH_MAX + 64], text[SECRETS_FILE_MAX];
    sh_dev_state_path(state, "secrets", path);
    FILE *f = fopen(path, "re");
    if (!f) return errno == ENOENT ? SH_OK : fail(error, "read", path);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *equals = strchr(line, '=');
        if (!equals || equals[1] == 0) continue;
        free(sh_map_set(&state->secrets, sh_str(line, (size_t)(equals - line)), sh_strdup(equals + 1)));
    }
    explicit_bzero(text, sizeof text);
    return SH_OK;
}

int sh_dev_state_write(const sh_dev_state_t *state, const char *name, sh_str_t text, sh_buf_t *error) {
    char path[SH_DEV_PATH_MAX + 64], fresh[SH_DEV_PATH_MAX + 72];
    sh_dev_state_path(state, name, path);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return fail(error, "write", fresh);
    bool is_written = write(fd, text.ptr, text.len) == (ssize_t)text.len;
    if (close(fd) || !is_written || rename(fresh, path)) {
        int rc = fail(error, "write", path);
        unlink(fresh);
        return rc;
    }
    return SH_OK;
}

int sh_dev_state_secret(sh_dev_state_t *state, const char *name, const char **out, sh_buf_t *error) {
    char *value = sh_map_get(&state->secrets, sh_str_of(name));
    if (!value) {
        uint8_t bytes[SECRET_BYTES];
        sh_buf_t text = {0};
        sh_crypto_random(bytes, sizeof bytes);
        sh_base64url_encode(&text, bytes, sizeof bytes);
        value = sh_strdup(sh_buf_c(&text));
        sh_map_set(&state->secrets, sh_str_of(name), value);
        sh_buf_clear(&text);
        sh_map_entry_t *e;
        for (size_t i = 0; (e = sh_map_next(&state->secrets, &i));) sh_buf_printf(&text, "%s=%s\n", e->key, (char *)e->value);
        int rc = sh_dev_state_write(state, "secrets", sh_buf_str(&text), error);
        sh_buf_dispose(&text);
        if (rc) return rc;
    }
    *out = value;
    return SH_OK;
}

/* ---- life */

int sh_dev_state_open(sh_dev_state_t *state, sh_buf_t *error) {
    char here[SH_DEV_PATH_MAX - 16];
    *state = (sh_dev_state_t){.lock = -1};
    if (!getcwd(here, sizeof here)) return fail(error, "find", "the current folder");
    snprintf(state->folder, sizeof state->folder, "%s/.shama", strcmp(here, "/") == 0 ? "" : here);
    if (mkdir(state->folder, 0755) && errno != EEXIST) return fail(error, "make", state->folder);
    int rc = take_lock(state, error);
    if (rc == SH_OK) rc = read_secrets(state, error);
    if (rc) return rc;
    char path[SH_DEV_PATH_MAX + 64];
    sh_dev_state_path(state, "dev.json", path); /* of a run that was killed: scripts wait for it to appear */
    unlink(path);
    return SH_OK;
}

void sh_dev_state_close(sh_dev_state_t *state) {
    char path[SH_DEV_PATH_MAX + 64];
    if (state->lock >= 0) {
        sh_dev_state_path(state, "dev.json", path);
        unlink(path);
        close(state->lock);
    }
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&state->secrets, &i));) free(e->value);
    sh_map_dispose(&state->secrets);
    state->lock = -1;
}
