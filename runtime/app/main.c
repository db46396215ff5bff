/* `shama`: one binary, a command each. */
#include "app/commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"dev", "start a private Postgres and NATS with demo data, and serve", sh_command_dev},
    {"serve", "serve with the servers that the configuration names", sh_command_serve},
    {"migrate", "bring the database to this version's schema", sh_command_migrate},
    {"check", "check rules and configuration without touching what runs", sh_command_check},
    {"test", "run specs inside the runtime", sh_command_test},
    {"console", "a prompt inside a service's sandbox", sh_command_console},
    {"reload", "take edited rules into the running server, all or nothing", sh_command_reload},
    {"rollback", "go back to an older rules version", sh_command_rollback},
    {"status", "what the running server runs", sh_command_status},
    {"token", "mint an access token for scripts", sh_command_token},
    {"version", "print the version", sh_command_version},
};

static int help(FILE *out, int code) {
    fputs("Shama Core: business rules in Lua on a host in C.\n\nUsage: shama COMMAND [options]\n\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`shama COMMAND --help` tells more. Settings: config/shama.lua, SHAMA_CONFIG, environment (docs/reference/configuration.md).\n", out);
    return code;
}

int main(int argc, char **argv) {
    if (argc < 2) return help(stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) return help(stdout, 0);
    if (strcmp(argv[1], "--version") == 0) return sh_command_version(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, argv[1]) == 0) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "shama: unknown command \"%s\"; see shama --help\n", argv[1]);
    return 2;
}
