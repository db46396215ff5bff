/* Beside a running `shama dev`: its database, for commands in another terminal. */
#ifndef SH_DEV_ATTACH_H
#define SH_DEV_ATTACH_H

#include "app/config.h"

/* When neither DATABASE_URL nor DB_HOST names a database and .shama/dev.json is in the current folder, `config` gets the address that stands
 * there, and the services' passwords of .shama/secrets. Returns whether it did. */
bool sh_dev_attach(sh_config_t *config);

#endif
