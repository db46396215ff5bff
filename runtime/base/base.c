/* Panics and the allocator that aborts instead of returning NULL. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sh_panic(const char *file, int line, const char *what) {
    fprintf(stderr, "{\"level\":\"fatal\",\"msg\":\"assertion failed\",\"at\":\"%s:%d\",\"what\":\"%s\"}\n", file, line, what);
    abort();
}

static void *or_abort(void *ptr, size_t size) {
    if (SH_UNLIKELY(!ptr)) {
        fprintf(stderr, "{\"level\":\"fatal\",\"msg\":\"out of memory\",\"bytes\":%zu}\n", size);
        abort();
    }
    return ptr;
}

void *sh_alloc(size_t size) { return or_abort(malloc(size ? size : 1), size); }
void *sh_calloc(size_t count, size_t size) { return or_abort(calloc(count ? count : 1, size ? size : 1), count * size); }
void *sh_realloc(void *ptr, size_t size) { return or_abort(realloc(ptr, size ? size : 1), size); }
char *sh_strdup(const char *text) { return or_abort(strdup(text), strlen(text) + 1); }
