/* Proves that a password matches its own hash and no other, that an unknown user costs what a known one does, and that a
 * damaged or greedy hash is refused before any work. Small parameters, since this is not about the function's strength. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/time.h"
#include "codec/password.h"

#include <stdlib.h>

static const sh_password_params_t cheap = {.memory_kib = 64, .iterations = 1, .parallelism = 1};

static void matches_only_itself(void **state) {
    (void)state;
    char one[SH_PASSWORD_HASH_MAX], two[SH_PASSWORD_HASH_MAX];
    sh_str_t password = SH_STR("contraseña larga");
    assert_int_equal(sh_password_hash(&cheap, password, one), SH_OK);
    assert_int_equal(sh_password_hash(&cheap, password, two), SH_OK);
    assert_string_not_equal(one, two); /* a salt of its own */
    assert_true(sh_str_has_prefix(sh_str_of(one), SH_STR("$argon2id$v=19$m=64,t=1,p=1$")));
    assert_int_equal(sh_password_verify(&cheap, password, sh_str_of(one)), SH_OK);
    assert_int_equal(sh_password_verify(&cheap, password, sh_str_of(two)), SH_OK);
    assert_int_equal(sh_password_verify(&cheap, SH_STR("contraseña larg"), sh_str_of(one)), SH_EDENIED);
    assert_int_equal(sh_password_verify(&cheap, SH_STR(""), sh_str_of(one)), SH_EDENIED);
}

static void fits_with_the_largest_parameters(void **state) {
    (void)state;
    char hash[SH_PASSWORD_HASH_MAX];
    const sh_password_params_t odd = {.memory_kib = 8192, .iterations = 3, .parallelism = SH_PASSWORD_PARALLELISM_MAX};
    assert_int_equal(sh_password_hash(&odd, SH_STR("x"), hash), SH_OK);
    assert_int_equal(sh_password_verify(&cheap, SH_STR("x"), sh_str_of(hash)), SH_OK);
}

static void an_unknown_user_costs_the_same(void **state) {
    (void)state;
    char hash[SH_PASSWORD_HASH_MAX];
    const sh_password_params_t real = SH_PASSWORD_PARAMS_DEFAULT;
    assert_int_equal(sh_password_hash(&real, SH_STR("right"), hash), SH_OK);
    uint64_t started = sh_time_thread_cpu_ns();
    assert_int_equal(sh_password_verify(&real, SH_STR("wrong"), sh_str_of(hash)), SH_EDENIED);
    uint64_t known = sh_time_thread_cpu_ns() - started;
    started = sh_time_thread_cpu_ns();
    assert_int_equal(sh_password_verify(&real, SH_STR("wrong"), SH_STR_NULL), SH_EDENIED);
    uint64_t unknown = sh_time_thread_cpu_ns() - started;
    assert_true(unknown > known / 4 && known > unknown / 4);
}

static void refuses_damage_and_greed(void **state) {
    (void)state;
    static const char *const bad[] = {
        "x",
        "$argon2id$",
        "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21l$7CjiW2g3",
        "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$7CjiW2g3",
        "$argon2id$v=19$m=999999999,t=1,p=1$c29tZXNhbHQ$7CjiW2g3",
        "$argon2id$v=19$m=64,t=999999,p=1$c29tZXNhbHQ$7CjiW2g3",
        "$argon2id$v=19$m=64,t=1,p=999$c29tZXNhbHQ$7CjiW2g3",
        "$argon2id$v=19$m=64,t=1,p=1",
        "$argon2id$v=19$m=64,t=1,p=1$",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$!!",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++)
        if (sh_password_verify(&cheap, SH_STR("password"), sh_str_of(bad[i])) != SH_EINVAL) fail_msg("took \"%s\"", bad[i]);

    char out[SH_PASSWORD_HASH_MAX], long_password[SH_PASSWORD_BYTES_MAX + 1];
    memset(long_password, 'a', sizeof long_password);
    assert_int_equal(sh_password_hash(&cheap, SH_STR(""), out), SH_EINVAL);
    assert_int_equal(sh_password_hash(&cheap, sh_str(long_password, sizeof long_password), out), SH_ELIMIT);
    assert_int_equal(sh_password_hash(&cheap, sh_str(long_password, SH_PASSWORD_BYTES_MAX), out), SH_OK);
    assert_int_equal(sh_password_hash(&(sh_password_params_t){4, 1, 1}, SH_STR("x"), out), SH_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_only_itself),
        cmocka_unit_test(fits_with_the_largest_parameters),
        cmocka_unit_test(an_unknown_user_costs_the_same),
        cmocka_unit_test(refuses_damage_and_greed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
