/* A small option reader. */
#include "app/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sh_options_take(int argc, char **argv, const sh_option_t *options, size_t count, const char *help) {
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            fputs(help, stdout);
            exit(0);
        }
        if (arg[0] != '-' || arg[1] != '-') {
            argv[kept++] = argv[i];
            continue;
        }
        const char *equals = strchr(arg, '=');
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg), k = 0;
        while (k < count && (strlen(options[k].name) != len || strncmp(options[k].name, arg, len) != 0)) k++;
        if (k == count) {
            fprintf(stderr, "shama %s: unknown option %s\n\n%s", argv[0], arg, help);
            return -1;
        }
        if (options[k].flag) {
            *options[k].flag = true;
        } else if (equals) {
            *options[k].value = equals + 1;
        } else if (i + 1 < argc) {
            *options[k].value = argv[++i];
        } else {
            fprintf(stderr, "shama %s: %s needs a value\n", argv[0], arg);
            return -1;
        }
    }
    return kept;
}

sh_config_t *sh_options_config(void) {
    sh_buf_t error = {0};
    sh_config_t *config = sh_calloc(1, sizeof *config);
    if (sh_config_load(NULL, NULL, config, &error)) {
        fprintf(stderr, "shama: %s\n", sh_buf_c(&error));
        sh_buf_dispose(&error);
        free(config);
        return NULL;
    }
    sh_buf_dispose(&error);
    return config;
}
