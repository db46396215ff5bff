/* Command line options, the same way in every command: --name value, --name=value, --flag. */
#ifndef SH_OPTIONS_H
#define SH_OPTIONS_H

#include "app/config.h"

typedef struct sh_option {
    const char *name;   /* "--format" */
    const char **value; /* set to the argument; NULL for a flag */
    bool *flag;
} sh_option_t;

/* Takes known options out of argv and leaves the rest in order. Returns the new argc, or -1 after a message on stderr.
 * --help prints `help` and ends the program with 0. */
int sh_options_take(int argc, char **argv, const sh_option_t *options, size_t count, const char *help);

/* Loads the configuration for a command, or prints the reason and returns NULL. The caller owns it (sh_config_dispose, free). */
sh_config_t *sh_options_config(void);

#endif
