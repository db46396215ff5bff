/* `shama reload`, `rollback` and `status`: they ask the master and show its answer, as text or as it is. */
#include "app/commands.h"
#include "app/control.h"
#include "app/options.h"
#include "base/arena.h"
#include "base/err.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char reload_help[] =
    "Usage: shama reload [--format json]\n\n"
    "Takes the rules and settings on disk into the running server: checked, prepared in all workers, swapped in all workers.\n"
    "When anything is wrong nothing changes, the reason names file and line, and the exit code is 1.\n"
    "Which server: by PORT or SHAMA_CONTROL, as `shama serve` got them.\n";
static const char rollback_help[] =
    "Usage: shama rollback [N] [--format json]\n\nGoes back N rules versions (1 when left out); see the kept ones with `shama status`.\n";
static const char status_help[] = "Usage: shama status [--format json]\n\nShows the rules version, the last reload and the workers.\n";

static sh_str_t text_of(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *v = sh_json_get(object, key);
    return v && v->text.ptr ? v->text : SH_STR("");
}
static long long number_of(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *v = sh_json_get(object, key);
    return v && v->kind == SH_JSON_INTEGER ? (long long)v->i64 : 0;
}
static bool is_true(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *v = sh_json_get(object, key);
    return v && v->kind == SH_JSON_TRUE;
}
#define SHOW(s, max) (int)((s).len < (max) ? (s).len : (max)), (s).ptr

static void show_report(FILE *out, const sh_json_value_t *r) {
    sh_str_t version = text_of(r, "version"), error = text_of(r, "error"), warnings = text_of(r, "warnings");
    const sh_json_value_t *changed = sh_json_get(r, "changed"), *ms = sh_json_get(r, "ms");
    if (!is_true(r, "ok")) {
        fprintf(out, "refused: %.*s\n", SHOW(error, error.len));
        if (version.len) fprintf(out, "rules %.*s go on\n", SHOW(version, 12));
        return;
    }
    fprintf(out, "rules %.*s\n", SHOW(version, 12));
    for (uint32_t i = 0; changed && i < changed->count; i++) {
        sh_str_t how = text_of(&changed->items[i], "how"), file = text_of(&changed->items[i], "file");
        fprintf(out, "  %-8.*s %.*s\n", SHOW(how, 8), SHOW(file, file.len));
    }
    if (changed && !changed->count) fputs("  nothing changed\n", out);
    if (ms) fprintf(out, "  check %lld ms, prepare %lld ms, swap %lld ms\n", number_of(ms, "check"), number_of(ms, "prepare"), number_of(ms, "swap"));
    if (warnings.len) fprintf(out, "  %.*s\n", SHOW(warnings, warnings.len));
}

static void show_status(FILE *out, const sh_json_value_t *s) {
    const sh_json_value_t *rules = sh_json_get(s, "rules"), *workers = sh_json_get(s, "workers"), *kept = sh_json_get(s, "kept"),
                          *reload = sh_json_get(s, "reload"), *last = reload ? sh_json_get(reload, "last") : NULL;
    sh_str_t version = text_of(rules, "version"), since = text_of(rules, "since");
    fprintf(out, "master %lld, rules %.*s since %.*s\n", number_of(s, "pid"), SHOW(version, 12), SHOW(since, 19));
    for (uint32_t i = 0; workers && i < workers->count; i++) {
        const sh_json_value_t *w = &workers->items[i];
        fprintf(out, "  worker %lld: pid %lld, %s, generation %lld, %lld alive, %lld tasks draining\n", number_of(w, "index"), number_of(w, "pid"),
                is_true(w, "ready") ? "ready" : "starting", number_of(w, "generation"), number_of(w, "generations"), number_of(w, "draining_tasks"));
    }
    for (uint32_t i = 0; kept && i < kept->count; i++) {
        sh_str_t v = text_of(&kept->items[i], "version"), at = text_of(&kept->items[i], "since");
        fprintf(out, "  rollback %u: rules %.*s of %.*s\n", i + 1, SHOW(v, 12), SHOW(at, 19));
    }
    if (last && last->kind == SH_JSON_OBJECT) {
        sh_str_t at = text_of(last, "at");
        fprintf(out, "last reload at %.*s: ", SHOW(at, 19));
        show_report(out, last);
    }
}

static int ask(int argc, char **argv, const char *line, const char *help, bool is_status) {
    const char *format = "text";
    const sh_option_t options[] = {{"--format", &format, NULL}};
    char full[64];
    argc = sh_options_take(argc, argv, options, 1, help);
    if (argc < 0 || (strcmp(format, "text") != 0 && strcmp(format, "json") != 0)) return 2;
    snprintf(full, sizeof full, "%s", line);
    if (strcmp(line, "rollback") == 0) snprintf(full, sizeof full, "rollback %d", argc > 1 ? atoi(argv[1]) : 1);
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    sh_buf_t answer = {0};
    int code = 1;
    if (sh_control_ask(config, full, &answer)) {
        char path[108];
        sh_control_path(config, path);
        fprintf(stderr, "shama: no server listens at %s: start it with `shama serve`, or set PORT or SHAMA_CONTROL as it has them\n", path);
        code = 3;
    } else {
        sh_arena_t arena;
        sh_json_value_t *value;
        sh_json_error_t error;
        sh_arena_init(&arena);
        if (sh_json_read(&arena, sh_buf_str(&answer), SH_JSON_LIMITS_DEFAULT, &value, &error)) {
            fprintf(stderr, "shama: the server's answer cannot be read\n");
        } else {
            code = is_status || is_true(value, "ok") ? 0 : 1;
            if (strcmp(format, "json") == 0)
                printf("%.*s\n", (int)answer.len, answer.ptr);
            else if (is_status)
                show_status(stdout, value);
            else
                show_report(code ? stderr : stdout, value);
        }
        sh_arena_dispose(&arena);
    }
    sh_buf_dispose(&answer);
    sh_config_dispose(config);
    free(config);
    return code;
}

int sh_command_reload(int argc, char **argv) { return ask(argc, argv, "reload", reload_help, false); }
int sh_command_rollback(int argc, char **argv) { return ask(argc, argv, "rollback", rollback_help, false); }
int sh_command_status(int argc, char **argv) { return ask(argc, argv, "status", status_help, true); }
