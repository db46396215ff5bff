/* Reading rule folders into a sealed memfd, and mapping one.
 *
 * Layout: "SHAMAB1\n", the count as text and '\n', then per file "<name length> <content length>\n", the name and the content.
 * The version is the SHA-256 of all of it. */
#include "host/bundle.h"

#include "base/err.h"
#include "codec/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[] = "SHAMAB1\n";
enum { MAGIC_LEN = sizeof magic - 1, PATH_LEN_MAX = 1024, FOLDER_DEPTH_MAX = 16 };
static const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

typedef struct entry {
    sh_str_t name, content;
} entry_t;

struct sh_bundle {
    uint32_t retained;
    int fd;
    char *map;
    size_t size;
    entry_t *entries; /* sorted by name; slices of the mapping */
    size_t count;
    char version[SH_VERSION_HEX + 1];
};

/* ---- collecting files */

typedef struct collector {
    entry_t *entries; /* owned names and contents */
    size_t count, cap, bytes;
    sh_buf_t *error;
} collector_t;

static void collect(collector_t *c, char *name, char *content, size_t len) {
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 64;
        c->entries = sh_realloc(c->entries, c->cap * sizeof *c->entries);
    }
    c->entries[c->count++] = (entry_t){sh_str(name, strlen(name)), sh_str(content, len)};
    c->bytes += len + strlen(name) + 32;
}

static int read_file(collector_t *c, const char *path, const char *name) {
    char *content = NULL;
    struct stat st;
    int rc = SH_EIO, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe would be waited for */
    if (fd < 0 || fstat(fd, &st) < 0) {
        sh_buf_printf(c->error, "%s: cannot be read: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        sh_buf_printf(c->error, "%s: is not a plain file", path);
        goto done;
    }
    rc = SH_ELIMIT;
    if (st.st_size > SH_BUNDLE_FILE_MAX || c->count >= SH_BUNDLE_FILES_MAX || c->bytes + (size_t)st.st_size > SH_BUNDLE_BYTES_MAX) {
        sh_buf_printf(c->error, "%s: too large for a bundle (a file %d bytes, all %d bytes, %d files at most)", path, SH_BUNDLE_FILE_MAX,
                      SH_BUNDLE_BYTES_MAX, SH_BUNDLE_FILES_MAX);
        goto done;
    }
    size_t len = 0, size = (size_t)st.st_size;
    content = sh_alloc(size + 1);
    while (len < size) {
        ssize_t n = read(fd, content + len, size - len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        len += (size_t)n;
    }
    if (len != size) {
        sh_buf_printf(c->error, "%s: changed while it was read; save it and reload again", path);
        rc = SH_EIO;
        goto done;
    }
    collect(c, sh_strdup(name), content, len);
    content = NULL;
    rc = SH_OK;
done:
    free(content);
    if (fd >= 0) close(fd);
    return rc;
}

static int read_folder(collector_t *c, const char *folder, const char *prefix, const char *suffix, int depth) {
    int rc = SH_OK;
    DIR *dir = opendir(folder);
    if (!dir) {
        sh_buf_printf(c->error, "%s: cannot be read: %s", folder, strerror(errno));
        return SH_EIO;
    }
    for (struct dirent *e; !rc && (e = readdir(dir));) {
        char path[PATH_LEN_MAX], name[PATH_LEN_MAX];
        struct stat st;
        size_t n = strlen(e->d_name), s = strlen(suffix);
        if (e->d_name[0] == '.' || e->d_name[n - 1] == '~') continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path ||
            snprintf(name, sizeof name, "%s%s", prefix, e->d_name) >= (int)sizeof name) {
            sh_buf_printf(c->error, "%s/%s: the path is too long", folder, e->d_name);
            rc = SH_ELIMIT;
        } else if (stat(path, &st) < 0) {
            sh_buf_printf(c->error, "%s: cannot be read: %s", path, strerror(errno));
            rc = SH_EIO;
        } else if (S_ISDIR(st.st_mode)) {
            char below[PATH_LEN_MAX + 1];
            snprintf(below, sizeof below, "%s/", name);
            rc = depth < FOLDER_DEPTH_MAX ? read_folder(c, path, below, suffix, depth + 1) : SH_ELIMIT;
            if (depth >= FOLDER_DEPTH_MAX) sh_buf_printf(c->error, "%s: folders too deep", path);
        } else if (n > s && strcmp(e->d_name + n - s, suffix) == 0) {
            rc = read_file(c, path, name);
        }
    }
    closedir(dir);
    return rc;
}

/* ---- sealing */

static int by_name(const void *a, const void *b) {
    sh_str_t x = ((const entry_t *)a)->name, y = ((const entry_t *)b)->name;
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int seal(const sh_buf_t *bytes, int *out, sh_buf_t *error) {
    int fd = memfd_create("shama-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t at = 0;
    while (fd >= 0 && at < bytes->len) {
        ssize_t n = write(fd, bytes->ptr + at, bytes->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        at += (size_t)n;
    }
    if (fd < 0 || at < bytes->len || fcntl(fd, F_ADD_SEALS, seals) < 0) {
        sh_buf_printf(error, "cannot seal the bundle: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return SH_EIO;
    }
    *out = fd;
    return SH_OK;
}

int sh_bundle_build(const sh_bundle_source_t *sources, size_t count, sh_bundle_t **out, sh_buf_t *error) {
    collector_t c = {.error = error};
    sh_buf_t bytes = {0};
    int rc = SH_OK, fd = -1;
    for (size_t i = 0; i < count && !rc; i++) {
        const sh_bundle_source_t *s = &sources[i];
        if (s->folder) {
            rc = read_folder(&c, s->folder, s->prefix, s->suffix ? s->suffix : "", 0);
        } else {
            char *copy = sh_alloc(s->bytes.len + 1);
            if (s->bytes.len) memcpy(copy, s->bytes.ptr, s->bytes.len);
            collect(&c, sh_strdup(s->prefix), copy, s->bytes.len);
        }
    }
    if (!rc) {
        qsort(c.entries, c.count, sizeof *c.entries, by_name);
        sh_buf_put(&bytes, magic, MAGIC_LEN);
        sh_buf_printf(&bytes, "%zu\n", c.count);
        for (size_t i = 0; i < c.count; i++) {
            sh_buf_printf(&bytes, "%zu %zu\n", c.entries[i].name.len, c.entries[i].content.len);
            sh_buf_put_str(&bytes, c.entries[i].name);
            sh_buf_put_str(&bytes, c.entries[i].content);
        }
        rc = seal(&bytes, &fd, error);
    }
    if (!rc) {
        rc = sh_bundle_map(fd, out);
        SH_ASSERT(rc == SH_OK);
    }
    for (size_t i = 0; i < c.count; i++) {
        free((char *)c.entries[i].name.ptr);
        free((char *)c.entries[i].content.ptr);
    }
    free(c.entries);
    sh_buf_dispose(&bytes);
    return rc;
}

/* ---- mapping */

static bool take_number(const char **at, const char *end, char stop, size_t max, size_t *out) {
    size_t n = 0;
    const char *p = *at;
    while (p < end && *p >= '0' && *p <= '9' && n <= max) n = n * 10 + (size_t)(*p++ - '0');
    if (p == *at || p >= end || *p != stop || n > max) return false;
    *at = p + 1;
    *out = n;
    return true;
}

static bool index_entries(sh_bundle_t *b) {
    const char *p = b->map + MAGIC_LEN, *end = b->map + b->size;
    if (b->size < MAGIC_LEN || memcmp(b->map, magic, MAGIC_LEN) != 0) return false;
    if (!take_number(&p, end, '\n', SH_BUNDLE_FILES_MAX, &b->count)) return false;
    b->entries = sh_calloc(b->count, sizeof *b->entries);
    for (size_t i = 0; i < b->count; i++) {
        size_t name_len, len;
        if (!take_number(&p, end, ' ', PATH_LEN_MAX, &name_len) || !take_number(&p, end, '\n', SH_BUNDLE_BYTES_MAX, &len) ||
            (size_t)(end - p) < name_len + len)
            return false;
        b->entries[i] = (entry_t){sh_str(p, name_len), sh_str(p + name_len, len)};
        p += name_len + len;
        if (i && by_name(&b->entries[i - 1], &b->entries[i]) >= 0) return false;
    }
    return p == end;
}

int sh_bundle_map(int fd, sh_bundle_t **out) {
    struct stat st;
    sh_bundle_t *b = sh_calloc(1, sizeof *b);
    *b = (sh_bundle_t){.retained = 1, .fd = fd};
    if ((fcntl(fd, F_GET_SEALS) & seals) != seals || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > SH_BUNDLE_BYTES_MAX + 65536)
        goto fail_free;
    b->size = (size_t)st.st_size;
    b->map = mmap(NULL, b->size, PROT_READ, MAP_SHARED, fd, 0);
    if (b->map == MAP_FAILED) goto fail_free;
    if (!index_entries(b)) goto fail_unmap;
    uint8_t digest[32];
    sh_crypto_sha256(b->map, b->size, digest);
    for (int i = 0; i < 32; i++) snprintf(b->version + 2 * i, 3, "%02x", digest[i]);
    *out = b;
    return SH_OK;
fail_unmap:
    munmap(b->map, b->size);
fail_free:
    free(b->entries);
    free(b);
    close(fd);
    return SH_EINVAL;
}

sh_bundle_t *sh_bundle_retain(sh_bundle_t *bundle) {
    bundle->retained++;
    return bundle;
}

void sh_bundle_release(sh_bundle_t *b) {
    if (!b || --b->retained) return;
    munmap(b->map, b->size);
    close(b->fd);
    free(b->entries);
    free(b);
}

int sh_bundle_fd(const sh_bundle_t *b) { return b->fd; }
const char *sh_bundle_version(const sh_bundle_t *b) { return b->version; }
size_t sh_bundle_count(const sh_bundle_t *b) { return b->count; }

sh_str_t sh_bundle_file(const sh_bundle_t *b, const char *name) {
    entry_t key = {.name = sh_str_of(name)};
    const entry_t *e = bsearch(&key, b->entries, b->count, sizeof *b->entries, by_name);
    return e ? e->content : SH_STR_NULL;
}

void sh_bundle_at(const sh_bundle_t *b, size_t index, sh_str_t *name, sh_str_t *content) {
    SH_ASSERT(index < b->count);
    *name = b->entries[index].name;
    *content = b->entries[index].content;
}
