/* The log's lines and its file. */
#include "base/log.h"

#include "base/err.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { FLUSH_AT_BYTES = 16384, PENDING_BYTES_MAX = 1048576 };

static int open_path(const char *path) { return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640); }

int sh_log_open(sh_log_t *log, const char *path, sh_log_level_t level, const char *process) {
    int fd = 2;
    if (path && *path) {
        if (strlen(path) >= sizeof log->path) return SH_EINVAL;
        fd = open_path(path);
        if (fd < 0) return SH_EIO;
    }
    *log = (sh_log_t){.level = level, .fd = fd};
    if (path) snprintf(log->path, sizeof log->path, "%s", path);
    snprintf(log->process, sizeof log->process, "%s", process);
    return SH_OK;
}

int sh_log_reopen(sh_log_t *log) {
    sh_log_flush(log);
    if (!log->path[0]) return SH_OK;
    int fd = open_path(log->path);
    if (fd < 0) return SH_EIO;
    close(log->fd);
    log->fd = fd;
    return SH_OK;
}

void sh_log_flush(sh_log_t *log) {
    size_t at = 0;
    while (at < log->pending.len) {
        ssize_t n = write(log->fd, log->pending.ptr + at, log->pending.len - at);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else
            break;
    }
    if (at < log->pending.len && log->pending.len - at < PENDING_BYTES_MAX) {
        memmove(log->pending.ptr, log->pending.ptr + at, log->pending.len - at);
        log->pending.len -= at;
    } else {
        if (at < log->pending.len) log->dropped++;
        log->pending.len = 0;
    }
}

void sh_log_close(sh_log_t *log) {
    sh_log_flush(log);
    if (log->path[0]) close(log->fd);
    sh_buf_dispose(&log->pending);
    log->level = SH_LOG_OFF;
}

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

int sh_log_level_of(sh_str_t name, sh_log_level_t *out) {
    for (size_t i = 0; i < SH_ARRAY_LEN(level_names); i++)
        if (sh_str_eq_c(name, level_names[i])) return *out = (sh_log_level_t)i, SH_OK;
    return SH_EINVAL;
}

void sh_log_write(sh_log_t *log, sh_log_level_t level, const char *msg, const sh_log_field_t *fields, size_t count) {
    sh_buf_t *b = &log->pending;
    char now[SH_RFC3339_LEN];
    if (!sh_log_is_on(log, level) || level == SH_LOG_OFF) return;
    sh_time_format(sh_time_wall_us(), now);
    sh_buf_put_lit(b, "{\"time\":\"");
    sh_buf_put(b, now, sizeof now);
    sh_buf_put_lit(b, "\",\"level\":\"");
    sh_buf_put_c(b, level_names[level]);
    sh_buf_put_lit(b, "\",\"process\":\"");
    sh_buf_put_c(b, log->process);
    sh_buf_put_lit(b, "\",\"msg\":");
    sh_buf_put_json(b, sh_str_of(msg));
    for (size_t i = 0; i < count; i++) {
        sh_buf_put_lit(b, ",\"");
        sh_buf_put_c(b, fields[i].key);
        sh_buf_put_lit(b, "\":");
        if (fields[i].kind == SH_LOG_FIELD_STR)
            sh_buf_put_json(b, fields[i].str);
        else if (fields[i].kind == SH_LOG_FIELD_I64)
            sh_buf_put_i64(b, fields[i].i64);
        else
            sh_buf_put_str(b, fields[i].str);
    }
    sh_buf_put_lit(b, "}\n");
    if (b->len > FLUSH_AT_BYTES || level >= SH_LOG_ERROR) sh_log_flush(log);
}
