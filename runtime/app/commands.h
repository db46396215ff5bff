/* The commands of `shama`. Each gets its own arguments (argv[0] is its name) and returns the exit code:
 * 0 done, 1 refused or failed, 2 wrong usage, 3 nothing to talk to (no running server). */
#ifndef SH_COMMANDS_H
#define SH_COMMANDS_H

int sh_command_dev(int argc, char **argv);
int sh_command_serve(int argc, char **argv);
int sh_command_migrate(int argc, char **argv);
int sh_command_check(int argc, char **argv);
int sh_command_test(int argc, char **argv);
int sh_command_console(int argc, char **argv);
int sh_command_reload(int argc, char **argv);
int sh_command_rollback(int argc, char **argv);
int sh_command_status(int argc, char **argv);
int sh_command_token(int argc, char **argv);
int sh_command_version(int argc, char **argv);

#endif
