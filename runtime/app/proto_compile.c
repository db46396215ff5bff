/* Runs protoc as a child with two pipes, one for the descriptors and one for its complaints. */
#include "app/proto_compile.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"
#include "codec/protobuf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NO_PROTOC = 127, ARGS_BEFORE_FILES = 5 };

typedef struct child {
    pid_t pid;
    int output, complaints; /* read ends */
} child_t;

static int is_proto(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 6 && strcmp(entry->d_name + n - 6, ".proto") == 0;
}

/* In the child; never returns. */
static void run_protoc(char **argv, const int output[2], const int complaints[2]) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int in = open("/dev/null", O_RDONLY);
    if (in >= 0 && dup2(in, 0) == 0 && dup2(output[1], 1) == 1 && dup2(complaints[1], 2) == 2) execvp(argv[0], argv);
    _exit(EXIT_NO_PROTOC);
}

static int start(char **argv, child_t *child, sh_buf_t *error) {
    int output[2], complaints[2];
    if (pipe2(output, O_CLOEXEC)) goto fail_output;
    if (pipe2(complaints, O_CLOEXEC)) goto fail_complaints;
    child->pid = fork();
    if (child->pid < 0) goto fail_fork;
    if (child->pid == 0) run_protoc(argv, output, complaints);
    close(output[1]);
    close(complaints[1]);
    child->output = output[0];
    child->complaints = complaints[0];
    return SH_OK;
fail_fork:
    close(complaints[0]);
    close(complaints[1]);
fail_complaints:
    close(output[0]);
    close(output[1]);
fail_output:
    sh_buf_printf(error, "protoc cannot be started: %s", strerror(errno));
    return SH_EIO;
}

/* Reads what is there; closes at the end. What is over `max` is read and dropped, so that the child does not block. */
static bool drain(int *fd, sh_buf_t *into, size_t max) {
    char chunk[16384];
    ssize_t n = read(*fd, chunk, sizeof chunk);
    if (n > 0) {
        size_t room = into->len < max ? max - into->len : 0;
        sh_buf_put(into, chunk, (size_t)n < room ? (size_t)n : room);
        return (size_t)n <= room;
    }
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    close(*fd);
    *fd = -1;
    return true;
}

/* Collects both pipes until both are closed. */
static int collect(child_t *child, sh_buf_t *out, sh_buf_t *complaints) {
    uint64_t end = sh_time_mono_ns() / 1000000 + SH_PROTO_COMPILE_MS;
    int rc = SH_OK;
    while (child->output >= 0 || child->complaints >= 0) {
        struct pollfd fds[2] = {{child->output, POLLIN, 0}, {child->complaints, POLLIN, 0}};
        uint64_t now = sh_time_mono_ns() / 1000000;
        int n = now < end ? poll(fds, 2, (int)(end - now)) : 0;
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            kill(child->pid, SIGKILL);
            rc = SH_ETIMEDOUT;
            break;
        }
        if (fds[0].revents && !drain(&child->output, out, SH_PROTOBUF_SET_BYTES_MAX)) rc = SH_ELIMIT;
        if (fds[1].revents) drain(&child->complaints, complaints, SH_PROTO_ERROR_MAX);
    }
    if (child->output >= 0) close(child->output);
    if (child->complaints >= 0) close(child->complaints);
    return rc;
}

/* protoc names files as it would import them; people look for them from the root of the project. */
static void put_complaints(const char *folder, sh_str_t text, sh_buf_t *error) {
    static const char usual[] = "config/proto";
    size_t n = strlen(folder);
    bool is_usual = n > sizeof usual && strcmp(folder + n - sizeof usual, "/config/proto") == 0;
    while (text.len && text.ptr[text.len - 1] == '\n') text.len--;
    while (text.len) {
        const char *end = memchr(text.ptr, '\n', text.len), *name = memmem(text.ptr, text.len, ".proto:", 7);
        size_t line = end ? (size_t)(end - text.ptr) : text.len;
        if (name && name < text.ptr + line) sh_buf_printf(error, "%s/", is_usual ? usual : folder);
        sh_buf_put(error, text.ptr, line);
        if (end) sh_buf_put_byte(error, '\n');
        text = end ? sh_str(end + 1, text.len - line - 1) : SH_STR_NULL;
    }
}

/* A missing program has exit code 127 by run_protoc(). */
static int explain(const char *folder, int rc, int status, bool has_output, sh_buf_t *complaints, sh_buf_t *error) {
    if (rc == SH_ETIMEDOUT) sh_buf_printf(error, "protoc did not end within %d ms", SH_PROTO_COMPILE_MS);
    if (rc == SH_ELIMIT) sh_buf_printf(error, "the .proto files make more than %d bytes of descriptors", SH_PROTOBUF_SET_BYTES_MAX);
    if (rc) return rc;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && has_output) return SH_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_PROTOC && complaints->len == 0) {
        sh_buf_put_lit(error, "there is no protoc to compile the .proto files with; install protobuf-compiler");
        return SH_EIO;
    }
    if (complaints->len)
        put_complaints(folder, sh_buf_str(complaints), error);
    else
        sh_buf_put_lit(error, "protoc failed without a word");
    return SH_EINVAL;
}

static int compile(const char *folder, struct dirent **files, int count, sh_buf_t *out, sh_buf_t *error) {
    sh_arena_t arena;
    sh_buf_t bytes = {0}, complaints = {0};
    child_t child;
    int n = 0, status = 0;
    sh_arena_init(&arena);
    char **argv = sh_arena_calloc(&arena, (size_t)(count + ARGS_BEFORE_FILES + 1) * sizeof *argv);
    argv[n++] = (char *)(uintptr_t) "protoc";
    argv[n++] = (char *)(uintptr_t) "--include_imports";
    argv[n++] = (char *)(uintptr_t) "--descriptor_set_out=/dev/stdout";
    argv[n++] = sh_arena_printf(&arena, "-I%s", folder);
    for (int i = 0; i < count; i++) argv[n++] = sh_arena_printf(&arena, "%s/%s", folder, files[i]->d_name);
    int rc = start(argv, &child, error);
    if (rc == SH_OK) {
        rc = collect(&child, &bytes, &complaints);
        while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) continue;
        rc = explain(folder, rc, status, bytes.len > 0, &complaints, error);
        if (rc == SH_OK) sh_buf_put_str(out, sh_buf_str(&bytes));
    }
    sh_buf_dispose(&bytes);
    sh_buf_dispose(&complaints);
    sh_arena_dispose(&arena);
    return rc;
}

int sh_proto_compile(const char *folder, sh_buf_t *out, sh_buf_t *error) {
    struct dirent **files;
    int count = scandir(folder, &files, is_proto, alphasort), rc;
    if (count < 0) {
        sh_buf_printf(error, "%s: %s", folder, strerror(errno));
        return SH_EIO;
    }
    if (count == 0) {
        sh_buf_printf(error, "%s: there is no .proto file in it", folder);
        rc = SH_EINVAL;
    } else if (count > SH_PROTO_FILES_MAX) {
        sh_buf_printf(error, "%s: more than %d .proto files", folder, SH_PROTO_FILES_MAX);
        rc = SH_ELIMIT;
    } else {
        rc = compile(folder, files, count, out, error);
    }
    for (int i = 0; i < count; i++) free(files[i]);
    free(files);
    return rc;
}
