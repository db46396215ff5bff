/* sha256(text) -> hex; token(bytes) -> base64url; equal(a, b); base64url(text), unbase64url(text). */
#include "bind/lua_crypto.h"

#include "base/err.h"
#include "codec/crypto.h"

#include <lauxlib.h>

enum { TOKEN_BYTES_MAX = 64, TEXT_BYTES_MAX = 65536, HASHED_BYTES_MAX = 1 << 20 };

static int crypto_sha256(lua_State *L) {
    size_t n;
    uint8_t digest[SH_SHA256_LEN];
    char hex[2 * SH_SHA256_LEN];
    const char *text = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n <= HASHED_BYTES_MAX, 1, "the text is longer than 1 MiB");
    sh_crypto_sha256(text, n, digest);
    sh_hex_encode(digest, sizeof digest, hex);
    lua_pushlstring(L, hex, sizeof hex);
    return 1;
}

static void push_base64url(lua_State *L, const void *bytes, size_t n) {
    sh_buf_t out = {0};
    sh_base64url_encode(&out, bytes, n);
    lua_pushlstring(L, out.ptr ? out.ptr : "", out.len);
    sh_buf_dispose(&out);
}

static int crypto_token(lua_State *L) {
    uint8_t bytes[TOKEN_BYTES_MAX];
    lua_Integer n = luaL_optinteger(L, 1, 32);
    luaL_argcheck(L, n >= 16 && n <= TOKEN_BYTES_MAX, 1, "between 16 and 64 bytes");
    sh_crypto_random(bytes, (size_t)n);
    push_base64url(L, bytes, (size_t)n);
    return 1;
}

static int crypto_equal(lua_State *L) {
    sh_str_t a, b;
    a.ptr = luaL_checklstring(L, 1, &a.len);
    b.ptr = luaL_checklstring(L, 2, &b.len);
    lua_pushboolean(L, sh_crypto_equal_str(a, b));
    return 1;
}

static int crypto_base64url(lua_State *L) {
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n <= TEXT_BYTES_MAX, 1, "the text is too long");
    push_base64url(L, text, n);
    return 1;
}

/* nil when the text is not strict base64url. */
static int crypto_unbase64url(lua_State *L) {
    sh_str_t text;
    size_t n = 0;
    text.ptr = luaL_checklstring(L, 1, &text.len);
    luaL_argcheck(L, text.len <= TEXT_BYTES_MAX, 1, "the text is too long");
    uint8_t *bytes = lua_newuserdata(L, sh_base64url_room(text.len) + 1);
    if (sh_base64url_decode(text, bytes, &n))
        lua_pushnil(L);
    else
        lua_pushlstring(L, (const char *)bytes, n);
    return 1;
}

int sh_lua_crypto_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {
        {"sha256", crypto_sha256},
        {"token", crypto_token},
        {"equal", crypto_equal},
        {"base64url", crypto_base64url},
        {"unbase64url", crypto_unbase64url},
        {NULL, NULL},
    };
    (void)data;
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
