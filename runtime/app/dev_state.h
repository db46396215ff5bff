/* The folder `.shama/` of `shama dev`: its lock, its secrets, and the file dev.json that tells scripts where everything is. */
#ifndef SH_DEV_STATE_H
#define SH_DEV_STATE_H

#include "base/buf.h"
#include "base/map.h"

enum { SH_DEV_PATH_MAX = 2048 };

typedef struct sh_dev_state {
    char folder[SH_DEV_PATH_MAX]; /* absolute: <current folder>/.shama */
    int lock;                     /* held while open, so that two `shama dev` never share the data */
    sh_map_t secrets;             /* name -> char*, owned; as in .shama/secrets */
} sh_dev_state_t;

/* Makes the folder, takes the lock and reads the secrets. SH_EIO with a sentence in `error`, also when another `shama dev` runs here. */
int sh_dev_state_open(sh_dev_state_t *state, sh_buf_t *error) SH_MUSTCHECK;
/* Removes dev.json and lets the lock go. */
void sh_dev_state_close(sh_dev_state_t *state);

/* The secret of that name; made of 24 random bytes and written to .shama/secrets (0600) when it is asked for the first time. Lent. */
int sh_dev_state_secret(sh_dev_state_t *state, const char *name, const char **out, sh_buf_t *error) SH_MUSTCHECK;
/* Writes a file of the folder as a whole (0600): it is never seen half written. */
int sh_dev_state_write(const sh_dev_state_t *state, const char *name, sh_str_t text, sh_buf_t *error) SH_MUSTCHECK;
/* <folder>/<name>, into `out` of SH_DEV_PATH_MAX + 64 bytes. */
void sh_dev_state_path(const sh_dev_state_t *state, const char *name, char *out);

#endif
