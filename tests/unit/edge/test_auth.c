/* Proves who gets in: tokens that verify, of users whom the lookup knows and has not disabled, with the roles that both sides name; that the
 * lookup is asked once for many and again after the time to live; and that its failure is 503 and never an entry. The lookup is a stand-in
 * that answers when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/time.h"
#include "edge/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ID "0192f0c1-2345-7abc-8def-0123456789ab"
#define OTHER_ID "0192f0c1-2345-7abc-8def-0123456789ac"
enum { TTL_MS = 40, QUESTIONS_MAX = 16 };

typedef struct question {
    char id[40];
    sh_user_status_fn fn;
    void *data;
} question_t;

static sh_jwt_keys_t *keys, *other_keys;
static sh_auth_t *auth;
static sh_arena_t arena;
static question_t questions[QUESTIONS_MAX];
static int asked, answered, lookup_status;

static int lookup(void *data, sh_str_t id, sh_user_status_fn fn, void *fn_data) {
    (void)data;
    if (lookup_status) return lookup_status;
    assert_true(asked < QUESTIONS_MAX);
    snprintf(questions[asked].id, sizeof questions[asked].id, "%.*s", (int)id.len, id.ptr);
    questions[asked].fn = fn;
    questions[asked++].data = fn_data;
    return SH_OK;
}

static void answer_with(int status, const sh_user_status_t *user) {
    assert_true(answered < asked);
    question_t *q = &questions[answered++];
    q->fn(q->data, status, user);
}

static sh_user_status_t user_with(const char *first, const char *second) {
    sh_user_status_t user = {.exists = true};
    if (first) snprintf(user.roles[user.role_count++], sizeof user.roles[0], "%s", first);
    if (second) snprintf(user.roles[user.role_count++], sizeof user.roles[0], "%s", second);
    return user;
}

static int set_up(void **state) {
    (void)state;
    asked = answered = lookup_status = 0;
    sh_arena_init(&arena);
    if (sh_jwt_keys_create(SH_STR("0123456789abcdef0123456789abcdef"), SH_STR_NULL, &keys)) return -1;
    if (sh_jwt_keys_create(SH_STR("another-secret-0123456789abcdef0"), SH_STR_NULL, &other_keys)) return -1;
    const sh_auth_opts_t opts = {.keys = keys, .leeway_s = 0, .lookup = lookup, .ttl_ms = TTL_MS, .cache_max = 3};
    auth = sh_auth_create(&opts);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    sh_auth_destroy(auth);
    sh_jwt_keys_destroy(keys);
    sh_jwt_keys_destroy(other_keys);
    sh_arena_dispose(&arena);
    return 0;
}

static sh_str_t bearer(const sh_jwt_keys_t *with, const char *sub, int64_t expires_in_s, const char *roles_json) {
    sh_buf_t token = {0};
    const char *claims = sh_arena_printf(&arena, "{\"sub\":\"%s\",\"exp\":%lld,\"roles\":%s}", sub,
                                         (long long)(sh_time_wall_us() / 1000000 + expires_in_s), roles_json);
    sh_buf_put_lit(&token, "Bearer ");
    assert_int_equal(sh_jwt_sign_hs256(with, sh_str_of(claims), &token), SH_OK);
    sh_str_t kept = sh_arena_str(&arena, sh_buf_str(&token));
    sh_buf_dispose(&token);
    return kept;
}

typedef struct outcome {
    int calls, status;
    const char *code;
    sh_caller_t caller;
} outcome_t;

static void checked(void *data, int status, const char *code) {
    outcome_t *o = data;
    o->calls++;
    o->status = status;
    o->code = code;
}
static void check(outcome_t *o, sh_str_t authorization) { sh_auth_check(auth, authorization, &arena, &o->caller, checked, o); }

static void assert_refused(const outcome_t *o, int status, const char *code) {
    assert_int_equal(o->calls, 1);
    assert_int_equal(o->status, status);
    assert_string_equal(o->code, code);
    assert_int_equal(o->caller.role_count, 0);
    assert_int_equal(o->caller.user_id.len, 0);
}

static void refuses_bad_tokens(void **state) {
    (void)state;
    const struct {
        sh_str_t header;
        const char *code;
    } cases[] = {
        {SH_STR_NULL, "TOKEN_MISSING"},
        {SH_STR("Basic YTpi"), "TOKEN_INVALID"},
        {SH_STR("Bearer"), "TOKEN_INVALID"},
        {SH_STR("Bearer "), "TOKEN_INVALID"},
        {SH_STR("Bearer x.y.z"), "TOKEN_INVALID"},
        {SH_STR("Bearerx"), "TOKEN_INVALID"},
        /* {"alg":"none"} . {"sub":..., "exp": far} . */
        {SH_STR("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIwMTkyZjBjMS0yMzQ1LTdhYmMtOGRlZi0wMTIzNDU2Nzg5YWIiLCJleHAiOjk5OTk5OTk5OTl9."), "TOKEN_INVALID"},
        {bearer(other_keys, ID, 60, "[\"ADMIN\"]"), "TOKEN_INVALID"},
        {bearer(keys, ID, -5, "[\"ADMIN\"]"), "TOKEN_EXPIRED"},
        {bearer(keys, "1 OR 1=1", 60, "[\"ADMIN\"]"), "TOKEN_INVALID"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        outcome_t o = {0};
        check(&o, cases[i].header);
        assert_refused(&o, 401, cases[i].code);
    }
    assert_int_equal(asked, 0); /* none of them reached the database */
}

static void takes_common_roles_only(void **state) {
    (void)state;
    outcome_t o = {0};
    sh_user_status_t user = user_with("SALES", "INVENTORY");
    snprintf(user.customer_id, sizeof user.customer_id, OTHER_ID);
    check(&o, bearer(keys, ID, 60, "[\"ADMIN\",\"SALES\",\"WIZARD\"]"));
    assert_int_equal(o.calls, 0);
    assert_string_equal(questions[0].id, ID);
    answer_with(SH_OK, &user);
    assert_int_equal(o.calls, 1);
    assert_null(o.code);
    assert_int_equal(o.caller.role_count, 1);
    assert_true(sh_str_eq_c(o.caller.roles[0], "SALES"));
    assert_true(sh_str_eq_c(o.caller.user_id, ID));
    assert_true(sh_str_eq_c(o.caller.customer_id, OTHER_ID));
    outcome_t lower = {0}; /* the scheme's case does not matter */
    sh_str_t header = bearer(keys, ID, 60, "[]");
    memcpy((char *)(uintptr_t)header.ptr, "bEARER", 6);
    check(&lower, header);
    assert_true(lower.calls == 1 && !lower.code && lower.caller.role_count == 0);
}

static void refuses_unknown_and_disabled_users(void **state) {
    (void)state;
    outcome_t unknown = {0}, disabled = {0};
    const sh_user_status_t nobody = {0};
    sh_user_status_t off = user_with("ADMIN", NULL);
    off.disabled = true;
    check(&unknown, bearer(keys, ID, 60, "[\"ADMIN\"]"));
    check(&disabled, bearer(keys, OTHER_ID, 60, "[\"ADMIN\"]"));
    answer_with(SH_OK, &nobody);
    answer_with(SH_OK, &off);
    assert_refused(&unknown, 401, "USER_UNKNOWN_OR_DISABLED");
    assert_refused(&disabled, 401, "USER_UNKNOWN_OR_DISABLED");
}

static void asks_once_for_many(void **state) {
    (void)state;
    outcome_t o[5] = {0};
    const sh_user_status_t user = user_with("SALES", NULL);
    for (int i = 0; i < 5; i++) check(&o[i], bearer(keys, ID, 60, i % 2 ? "[\"SALES\"]" : "[]"));
    assert_int_equal(asked, 1);
    answer_with(SH_OK, &user);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(o[i].calls, 1);
        assert_null(o[i].code);
        assert_int_equal(o[i].caller.role_count, i % 2);
    }
    outcome_t cached = {0};
    check(&cached, bearer(keys, ID, 60, "[\"SALES\"]"));
    assert_true(cached.calls == 1 && !cached.code);
    assert_int_equal(asked, 1);
}

static void sees_a_change_after_the_time_to_live(void **state) {
    (void)state;
    outcome_t before = {0}, after = {0};
    sh_user_status_t user = user_with("SALES", NULL);
    check(&before, bearer(keys, ID, 60, "[\"SALES\"]"));
    usleep(TTL_MS * 1000 + 1000); /* a slow answer is as old as its question: not believed any longer */
    answer_with(SH_OK, &user);
    assert_true(before.calls == 1 && !before.code);
    user.disabled = true;
    check(&after, bearer(keys, ID, 60, "[\"SALES\"]"));
    assert_int_equal(asked, 2);
    answer_with(SH_OK, &user);
    assert_refused(&after, 401, "USER_UNKNOWN_OR_DISABLED");
}

static void lets_nobody_in_without_the_database(void **state) {
    (void)state;
    outcome_t o[3] = {0};
    const sh_user_status_t user = user_with("SALES", NULL);
    lookup_status = SH_EUNAVAILABLE;
    check(&o[0], bearer(keys, ID, 60, "[\"SALES\"]"));
    assert_refused(&o[0], 503, "DATABASE_UNAVAILABLE");
    lookup_status = SH_OK;
    check(&o[1], bearer(keys, ID, 60, "[\"SALES\"]"));
    answer_with(SH_ETIMEDOUT, NULL);
    assert_refused(&o[1], 503, "DATABASE_UNAVAILABLE");
    check(&o[2], bearer(keys, ID, 60, "[\"SALES\"]")); /* a failure is not remembered */
    answer_with(SH_OK, &user);
    assert_true(o[2].calls == 1 && !o[2].code);
}

static void changes_keys(void **state) {
    (void)state;
    outcome_t o = {0}, old = {0};
    sh_auth_set_keys(auth, other_keys);
    check(&old, bearer(keys, ID, 60, "[]"));
    assert_refused(&old, 401, "TOKEN_INVALID");
    check(&o, bearer(other_keys, ID, 60, "[]"));
    const sh_user_status_t user = user_with(NULL, NULL);
    answer_with(SH_OK, &user);
    assert_true(o.calls == 1 && !o.code);
}

/* More users than the cache holds, one of them being asked for: nothing is lost, nothing leaks (the sanitizer watches). */
static void forgets_users_beyond_the_limit(void **state) {
    (void)state;
    enum { USERS = 8 };
    outcome_t pending = {0}, o[USERS] = {0};
    const sh_user_status_t user = user_with("SALES", NULL);
    check(&pending, bearer(keys, ID, 60, "[\"SALES\"]"));
    question_t first = questions[0];
    answered = 1;
    for (int i = 0; i < USERS; i++) {
        char id[64];
        snprintf(id, sizeof id, "0192f0c1-2345-7abc-8def-00000000000%d", i);
        check(&o[i], bearer(keys, id, 60, "[\"SALES\"]"));
        answer_with(SH_OK, &user);
        assert_true(o[i].calls == 1 && !o[i].code);
    }
    first.fn(first.data, SH_OK, &user);
    assert_true(pending.calls == 1 && !pending.code && pending.caller.role_count == 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(refuses_bad_tokens),
        TEST(takes_common_roles_only),
        TEST(refuses_unknown_and_disabled_users),
        TEST(asks_once_for_many),
        TEST(sees_a_change_after_the_time_to_live),
        TEST(lets_nobody_in_without_the_database),
        TEST(changes_keys),
        TEST(forgets_users_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
