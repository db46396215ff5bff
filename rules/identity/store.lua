-- All SQL of identity.
local store = {}

local COLUMNS = "id, email, full_name, roles, disabled, customer_id, created_at, updated_at, version"

store.login = "SELECT id, password_hash, full_name, roles, disabled, customer_id FROM identity.users WHERE email = $1"
store.get = "SELECT " .. COLUMNS .. " FROM identity.users WHERE id = $1"
store.lock = "SELECT " .. COLUMNS .. " FROM identity.users WHERE id = $1 FOR NO KEY UPDATE"
store.list_first = "SELECT " .. COLUMNS .. " FROM identity.users ORDER BY created_at DESC, id DESC LIMIT $1"
store.list = "SELECT " .. COLUMNS .. [[ FROM identity.users WHERE (created_at, id) < ($1::timestamptz, $2::uuid)
ORDER BY created_at DESC, id DESC LIMIT $3]]
store.insert = [[INSERT INTO identity.users (id, email, password_hash, full_name, roles, disabled, customer_id, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5::text[], $6, $7, $8, $8)]]
store.update = [[UPDATE identity.users SET email = $3, full_name = $4, roles = $5::text[], disabled = $6, customer_id = $7,
  password_hash = coalesce($8, password_hash), updated_at = $9, version = $2 WHERE id = $1]]

store.insert_token = [[INSERT INTO identity.refresh_tokens (id, user_id, family, token_hash, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5::timestamptz, $5::timestamptz + make_interval(secs => $6))]]
store.lock_token = [[SELECT t.id, t.family, t.user_id, t.rotated_at, t.revoked_at, t.expires_at <= now() AS is_expired, u.full_name, u.roles,
  u.customer_id, u.disabled
FROM identity.refresh_tokens t JOIN identity.users u ON u.id = t.user_id WHERE t.token_hash = $1 FOR NO KEY UPDATE OF t]]
store.rotate_token = "UPDATE identity.refresh_tokens SET rotated_at = $2 WHERE id = $1"
store.revoke_family = "UPDATE identity.refresh_tokens SET revoked_at = $2 WHERE family = $1 AND revoked_at IS NULL"
store.revoke_token = [[UPDATE identity.refresh_tokens SET revoked_at = $3 WHERE revoked_at IS NULL
AND family = (SELECT family FROM identity.refresh_tokens WHERE token_hash = $1 AND user_id = $2)]]
store.revoke_user = "UPDATE identity.refresh_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL"

return store
