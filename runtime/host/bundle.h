/* A bundle: every file that a rules version consists of, read once into one sealed, shareable run of bytes.
 *
 * Its SHA-256 is the rules version. Workers map the same memfd (passed over SCM_RIGHTS), so that no worker ever sees half an
 * edit; nothing of the rules is read from the disk again. Names are paths with '/': "rules/sales/policy.lua",
 * "lua/shama/db.lua" (the runtime's own Lua library), "proto/descriptors.bin" (compiled .proto files), "config/..." . */
#ifndef SH_BUNDLE_H
#define SH_BUNDLE_H

#include "base/buf.h"
#include "base/str.h"

typedef struct sh_bundle sh_bundle_t;

enum { SH_BUNDLE_FILE_MAX = 1 << 20, SH_BUNDLE_BYTES_MAX = 32 << 20, SH_BUNDLE_FILES_MAX = 4096, SH_VERSION_HEX = 64 };

/* What goes into a bundle: a folder read recursively (files ending in `suffix`, hidden ones skipped), or bytes under a name. */
typedef struct sh_bundle_source {
    const char *prefix; /* "rules/" */
    const char *folder; /* NULL: `bytes` under the name `prefix` */
    const char *suffix; /* ".lua" */
    sh_str_t bytes;
} sh_bundle_source_t;

/* Reads and seals. SH_EIO or SH_ELIMIT with a sentence naming the file in `error`. Count of the bundle starts at one. */
int sh_bundle_build(const sh_bundle_source_t *sources, size_t count, sh_bundle_t **out, sh_buf_t *error) SH_MUSTCHECK;
/* Maps a sealed memfd that another process built; takes the fd. Checks seals, layout and hash: SH_EINVAL. */
int sh_bundle_map(int fd, sh_bundle_t **out) SH_MUSTCHECK;
sh_bundle_t *sh_bundle_retain(sh_bundle_t *bundle);
void sh_bundle_release(sh_bundle_t *bundle);

int sh_bundle_fd(const sh_bundle_t *bundle);              /* stays the bundle's */
const char *sh_bundle_version(const sh_bundle_t *bundle); /* 64 hexadecimal digits */
/* The content, lent as long as the bundle lives, or a NULL slice. */
sh_str_t sh_bundle_file(const sh_bundle_t *bundle, const char *name);
size_t sh_bundle_count(const sh_bundle_t *bundle);
/* Files in the order of their names. */
void sh_bundle_at(const sh_bundle_t *bundle, size_t index, sh_str_t *name, sh_str_t *content);

#endif
