/* Finds the gate specs, runs busted over them in a child, and reads what lua/shama/test/gate.lua says of failures. */
#include "app/gate.h"

#include "app/capture.h"
#include "app/test_command.h"
#include "app/worker.h"
#include "base/err.h"
#include "host/generation.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { GATE_PATH_MAX = 4096, OPTIONS = 1, TAIL_BYTES = 600 };

typedef struct gate {
    const sh_config_t *config;
    sh_bundle_t *bundle;
    uint32_t limit_s;
    char *argv[OPTIONS + SH_GATE_FILES_MAX]; /* options of busted, then files from the root on */
    int argc;
} gate_t;

static bool is_gate(const char *path) {
    static const char mark[] = "-- gate";
    char line[sizeof mark + 1] = "";
    FILE *f = fopen(path, "re");
    if (!f) return false;
    if (!fgets(line, sizeof line, f)) line[0] = 0;
    fclose(f);
    return strncmp(line, mark, sizeof mark - 1) == 0 && (line[sizeof mark - 1] == 0 || strchr("\r\n :.", line[sizeof mark - 1]));
}

static void find_files(gate_t *g) {
    char names[SH_SERVICES_MAX][32], pattern[GATE_PATH_MAX];
    uint32_t services = sh_worker_services(g->config, names, SH_SERVICES_MAX);
    for (uint32_t i = 0; i < services; i++) {
        glob_t found = {0};
        snprintf(pattern, sizeof pattern, "%s/tests/spec/%s/*_spec.lua", g->config->root, names[i]);
        if (glob(pattern, 0, NULL, &found)) continue;
        for (size_t k = 0; k < found.gl_pathc && g->argc < (int)SH_ARRAY_LEN(g->argv); k++)
            if (is_gate(found.gl_pathv[k])) g->argv[g->argc++] = sh_strdup(found.gl_pathv[k] + strlen(g->config->root) + 1);
        globfree(&found);
    }
}

static int run_specs(void *data) {
    gate_t *g = data;
    const sh_test_opts_t opts = {.config = g->config, .bundle = g->bundle, .limit_s = g->limit_s, .is_gate = true, .argc = g->argc, .argv = g->argv};
    if (chdir(g->config->root)) return 1; /* so that places are told from there */
    return sh_test_run(&opts);
}

/* Lines that begin with "gate: " are failures. */
static size_t take_failures(const char *output, sh_buf_t *error) {
    size_t n = 0;
    for (const char *line = output; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, "gate: ", 6) != 0 || n++ >= SH_GATE_FAILURES_SHOWN) continue;
        sh_buf_printf(error, "%s%.*s", error->len ? "\n" : "", (int)strcspn(line + 6, "\n"), line + 6);
    }
    if (n > SH_GATE_FAILURES_SHOWN) sh_buf_printf(error, "\nand %zu more", n - SH_GATE_FAILURES_SHOWN);
    return n;
}

static void put_line(sh_buf_t *out, const char *text) {
    if (out->len) sh_buf_put_byte(out, '\n');
    sh_buf_put_c(out, text);
}

static int judge(int rc, int code, sh_buf_t *output, uint64_t limit_ms, sh_buf_t *warnings, sh_buf_t *error) {
    const char *text = sh_buf_c(output);
    if (rc == SH_ETIMEDOUT) {
        const char *last = NULL;
        for (const char *at = text; (at = strstr(at, "gate file: ")); at++) last = at + 11;
        sh_buf_printf(error, "%.*s: the gate specs did not end within %llu ms (reload.check_ms): make them faster, or take the line `-- gate` out",
                      last ? (int)strcspn(last, "\n") : 10, last ? last : "tests/spec", (unsigned long long)limit_ms);
        return SH_EINVAL;
    }
    if (rc) return rc;
    if (code == 0) return SH_OK;
    if (strstr(text, "module 'busted") && strstr(text, "not found")) {
        put_line(warnings, "the gate specs were not run: busted is not installed (Debian: lua-busted)");
        return SH_OK;
    }
    if (take_failures(text, error)) return SH_EINVAL;
    while (*text == '\n') text++;
    sh_buf_printf(error, "%s", text + (strlen(text) > TAIL_BYTES ? strlen(text) - TAIL_BYTES : 0));
    if (!error->len) sh_buf_printf(error, "the gate specs ended with %d and without a word", code);
    return SH_EINVAL;
}

int sh_gate_run(const sh_config_t *config, sh_bundle_t *bundle, uint64_t limit_ms, sh_buf_t *warnings, sh_buf_t *error) {
    gate_t g = {.config = config, .bundle = bundle, .limit_s = (uint32_t)(limit_ms / 1000 ? limit_ms / 1000 : 1), .argc = OPTIONS};
    sh_buf_t output = {0};
    int code = 0, rc = SH_OK;
    g.argv[0] = "--output=gate";
    find_files(&g);
    if (g.argc > OPTIONS) {
        rc = sh_capture(run_specs, &g, limit_ms, &output, &code);
        rc = judge(rc, code, &output, limit_ms, warnings, error);
    }
    for (int i = OPTIONS; i < g.argc; i++) free(g.argv[i]);
    sh_buf_dispose(&output);
    return rc;
}
