/* inotify on every folder below rules/; what is saved together is one reload, SH_DEV_WATCH_QUIET_MS after the last write.
 *
 *     quiet ──a .lua file changes──▶ waiting ──no change for 150 ms──▶ check ──no error──▶ reload
 *                                                                        └──errors──▶ print them; the old rules go on */
#include "app/dev_watch.h"

#include "app/commands.h"
#include "app/inspect.h"
#include "app/options.h"
#include "base/err.h"
#include "base/time.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEPTH_MAX = 8, WATCHES_MAX = 512, PATH_BYTES = 4096 };

typedef struct watcher {
    int fd;
    char *folders[WATCHES_MAX]; /* by inotify's number */
    const char *root;
    sh_buf_t changed; /* names, for the line that is printed */
} watcher_t;

static bool is_rule(const char *name) {
    size_t n = strlen(name);
    return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".lua") == 0;
}

/* And all folders in it. Are there rules in them already? Then nobody will tell of these. */
static bool watch_folder(watcher_t *w, const char *path, int depth) {
    bool has_rules = false;
    int id = inotify_add_watch(w->fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ONLYDIR);
    if (id < 0 || id >= WATCHES_MAX) return false;
    free(w->folders[id]);
    w->folders[id] = sh_strdup(path);
    DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char below[PATH_BYTES];
        if (is_rule(e->d_name)) has_rules = true;
        if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN && e->d_type != DT_LNK)) continue;
        if (snprintf(below, sizeof below, "%s/%s", path, e->d_name) < (int)sizeof below) has_rules |= watch_folder(w, below, depth + 1);
    }
    if (dir) closedir(dir);
    return has_rules;
}

static bool take_event(watcher_t *w, const struct inotify_event *e) {
    const char *folder = e->wd >= 0 && e->wd < WATCHES_MAX ? w->folders[e->wd] : NULL;
    char path[PATH_BYTES];
    if (e->mask & IN_Q_OVERFLOW) return true;
    if (!folder || !e->len || snprintf(path, sizeof path, "%s/%s", folder, e->name) >= (int)sizeof path) return false;
    if (e->mask & IN_ISDIR) {
        if (e->mask & (IN_CREATE | IN_MOVED_TO)) return watch_folder(w, path, 0);
        return (e->mask & (IN_MOVED_FROM | IN_DELETE)) != 0;
    }
    if (!is_rule(e->name) || e->mask & IN_CREATE) return false; /* a file that is made is written next */
    const char *shown = path + strlen(w->root) + 1;
    if (!strstr(sh_buf_c(&w->changed), shown)) sh_buf_printf(&w->changed, "%s%s", w->changed.len ? ", " : "", shown);
    return true;
}

/* Everything that is there to read. */
static bool take_events(watcher_t *w) {
    char events[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(w->fd, events, sizeof events);
    bool any = false;
    for (char *at = events; n > 0 && at < events + n;) {
        const struct inotify_event *e = (const struct inotify_event *)(void *)at;
        any |= take_event(w, e);
        at += sizeof *e + e->len;
    }
    return any;
}

/* Until nothing changed for a moment. */
static void settle(watcher_t *w) {
    uint64_t end = sh_time_mono_ns() + SH_DEV_WATCH_WAIT_MS_MAX * 1000000ull;
    struct pollfd in = {.fd = w->fd, .events = POLLIN};
    while (sh_time_mono_ns() < end && poll(&in, 1, SH_DEV_WATCH_QUIET_MS) > 0) take_events(w);
}

/* ---- check and reload, in a child: whatever happens in it, the watch goes on */

static int check_and_reload(void) {
    bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    const sh_inspect_opts_t opts = {.config = config, .with_database = true};
    sh_findings_t findings;
    sh_findings_init(&findings);
    sh_inspect(&opts, &findings, NULL);
    sh_findings_print(&findings, stdout, colour);
    if (sh_findings_errors(&findings)) {
        printf("%snot taken; the rules before go on%s\n", colour ? "\033[31m" : "", colour ? "\033[0m" : "");
        return 1;
    }
    char name[] = "reload", *argv[] = {name, NULL};
    dup2(STDOUT_FILENO, STDERR_FILENO);
    if (colour) fputs("\033[32m", stdout), fflush(stdout);
    int code = sh_command_reload(1, argv);
    if (colour) fputs("\033[0m", stdout);
    return code;
}

static void handle_change(watcher_t *w) {
    int status;
    printf("\n%s %s\n", w->changed.len ? sh_buf_c(&w->changed) : "rules/", "changed:");
    sh_buf_clear(&w->changed);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int code = check_and_reload();
        fflush(NULL);
        _exit(code);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (pid > 0 && WIFSIGNALED(status)) printf("the check was ended by signal %d\n", WTERMSIG(status));
    fflush(stdout);
}

static int run(watcher_t *w) {
    for (;;) {
        struct pollfd in = {.fd = w->fd, .events = POLLIN};
        if (poll(&in, 1, -1) < 0 && errno != EINTR) return 1;
        if (!take_events(w)) continue;
        settle(w);
        handle_change(w);
    }
}

int sh_dev_watch_start(const sh_config_t *config, pid_t *out, sh_buf_t *error) {
    char path[PATH_BYTES];
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    pid_t parent = getpid();
    watcher_t w = {.fd = inotify_init1(IN_CLOEXEC), .root = config->root};
    if (w.fd < 0) {
        sh_buf_printf(error, "cannot watch rules/: %s", strerror(errno));
        return SH_EIO;
    }
    snprintf(path, sizeof path, "%s/rules", config->root);
    watch_folder(&w, path, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        for (size_t i = 0; i < SH_ARRAY_LEN(signals); i++) signal(signals[i], signals[i] == SIGTERM ? SIG_DFL : SIG_IGN);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        prctl(PR_SET_NAME, "shama-watch");
        if (getppid() != parent) _exit(1);
        _exit(run(&w));
    }
    close(w.fd);
    for (size_t i = 0; i < WATCHES_MAX; i++) free(w.folders[i]);
    if (pid < 0) {
        sh_buf_printf(error, "cannot watch rules/: %s", strerror(errno));
        return SH_EIO;
    }
    *out = pid;
    return SH_OK;
}
