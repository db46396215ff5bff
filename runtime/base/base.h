/* Words that every file uses: fixed-width types, checked results, asserts that stay in release builds. */
#ifndef SH_BASE_H
#define SH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SH_MUSTCHECK __attribute__((warn_unused_result))
#define SH_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define SH_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SH_LIKELY(x) __builtin_expect(!!(x), 1)
#define SH_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SH_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A bug stops the process, also in release builds: the master replaces a worker. */
#define SH_ASSERT(cond)                                                                                                                              \
    do {                                                                                                                                             \
        if (SH_UNLIKELY(!(cond))) sh_panic(__FILE__, __LINE__, #cond);                                                                               \
    } while (0)

_Noreturn void sh_panic(const char *file, int line, const char *what);

/* Heap memory that never is NULL: out of memory aborts with a line on stderr.
 * The caller owns it and gives it back with free(). */
void *sh_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *sh_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *sh_realloc(void *ptr, size_t size) __attribute__((returns_nonnull));
char *sh_strdup(const char *text) __attribute__((malloc, returns_nonnull));

#endif
