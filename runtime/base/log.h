/* JSON log lines, one object a line: gathered in memory and written together, so that a line costs no system call.
 *
 * A logger is a value that is handed around; there is no global one. Lines above the level cost a compare.
 * Fields are given as pairs built by SH_LOG_*; text is escaped, never trusted. Secrets are the caller's to leave out. */
#ifndef SH_LOG_H
#define SH_LOG_H

#include "base/base.h"
#include "base/buf.h"

typedef enum sh_log_level { SH_LOG_DEBUG, SH_LOG_INFO, SH_LOG_WARN, SH_LOG_ERROR, SH_LOG_OFF } sh_log_level_t;

typedef struct sh_log {
    sh_log_level_t level;
    int fd;           /* 2, or the opened log file */
    char path[256];   /* empty: stderr */
    char process[24]; /* "master", "worker-1", "cli" */
    sh_buf_t pending; /* flushed past a size and by sh_log_flush() each loop turn */
    size_t dropped;   /* lines lost because the file could not be written */
} sh_log_t;

typedef struct sh_log_field {
    const char *key;
    enum { SH_LOG_FIELD_STR, SH_LOG_FIELD_I64, SH_LOG_FIELD_RAW } kind; /* RAW: JSON already */
    sh_str_t str;
    int64_t i64;
} sh_log_field_t;

#define SH_LOG_STR(k, s) ((sh_log_field_t){(k), SH_LOG_FIELD_STR, (s), 0})
#define SH_LOG_C(k, c) ((sh_log_field_t){(k), SH_LOG_FIELD_STR, sh_str_of(c), 0})
#define SH_LOG_I64(k, n) ((sh_log_field_t){(k), SH_LOG_FIELD_I64, SH_STR_NULL, (n)})
#define SH_LOG_RAW(k, s) ((sh_log_field_t){(k), SH_LOG_FIELD_RAW, (s), 0})

/* `path` NULL or "" means stderr. SH_EIO when the file cannot be opened. */
int sh_log_open(sh_log_t *log, const char *path, sh_log_level_t level, const char *process) SH_MUSTCHECK;
/* Opens the same path again (SIGUSR1, log rotation). The old file stays when that fails. */
int sh_log_reopen(sh_log_t *log) SH_MUSTCHECK;
void sh_log_flush(sh_log_t *log);
void sh_log_close(sh_log_t *log);

/* "debug" .. "error", "off"; SH_EINVAL otherwise. */
int sh_log_level_of(sh_str_t name, sh_log_level_t *out) SH_MUSTCHECK;

static inline bool sh_log_is_on(const sh_log_t *log, sh_log_level_t level) { return level >= log->level; }
void sh_log_write(sh_log_t *log, sh_log_level_t level, const char *msg, const sh_log_field_t *fields, size_t count);

/* sh_log_info(log, "reloaded", SH_LOG_C("rules", version)); Errors are flushed at once. */
#define sh_log_at(log, level, msg, ...)                                                                                                              \
    do {                                                                                                                                             \
        if (sh_log_is_on((log), (level))) {                                                                                                          \
            const sh_log_field_t sh_fields_[] = {__VA_ARGS__ __VA_OPT__(, )(sh_log_field_t){0}};                                                     \
            sh_log_write((log), (level), (msg), sh_fields_, SH_ARRAY_LEN(sh_fields_) - 1);                                                           \
        }                                                                                                                                            \
    } while (0)
#define sh_log_debug(log, ...) sh_log_at((log), SH_LOG_DEBUG, __VA_ARGS__)
#define sh_log_info(log, ...) sh_log_at((log), SH_LOG_INFO, __VA_ARGS__)
#define sh_log_warn(log, ...) sh_log_at((log), SH_LOG_WARN, __VA_ARGS__)
#define sh_log_error(log, ...) sh_log_at((log), SH_LOG_ERROR, __VA_ARGS__)

#endif
