-- Logging in, staying logged in, logging out.
local clock = require "shama.clock"
local crypto = require "shama.crypto"
local db = require "shama.db"
local jwt = require "shama.jwt"
local log = require "shama.log"
local password = require "shama.password"
local refusal = require "shama.refusal"
local text = require "shama.text"
local uuid = require "shama.uuid"
local policy = require "identity.policy"
local store = require "identity.store"
local user = require "identity.user"

local auth = {}

local function access_token(id, row)
  return jwt.sign({ sub = id, name = row.full_name, roles = row.roles, customer_id = row.customer_id }, jwt.access_ttl())
end

-- A new refresh token of a family; only its hash is stored.
local function add_token(tx, user_id, family)
  local token = crypto.token(policy.refresh_bytes)
  tx:write(store.insert_token, uuid.v7(), user_id, family, crypto.sha256(token), clock.now(), jwt.refresh_ttl())
  return token
end

local function answer(access, refresh)
  return { access_token = access, token_type = "Bearer", expires_in = jwt.access_ttl(), refresh_token = refresh }
end

-- An unknown address costs the same time as a wrong password, and both get the same answer.
function auth.login(req)
  local row = db.one(store.login, text.trim(req.body.email):lower())
  local hash
  if row then hash = row.password_hash end
  local is_right = password.verify(req.body.password, hash)
  if not is_right or row.disabled then
    log.info("login refused", { user = row and row.id or nil, peer = req.peer })
    refusal.raise("INVALID_CREDENTIALS")
  end
  local refresh = db.tx(function(tx) return add_token(tx, row.id, uuid.v7()) end)
  log.info("login", { user = row.id, peer = req.peer })
  return answer(access_token(row.id, row), refresh)
end

-- A token is good once. One that comes a second time was copied: its whole family ends, which must be committed although the caller is refused.
function auth.refresh(req)
  local outcome = db.tx(function(tx)
    local token = tx:one(store.lock_token, crypto.sha256(req.body.refresh_token))
    local decided = refusal.check(user.decide(token, { name = "refresh" }))
    if decided.revokes then
      tx:write(store.revoke_family, token.family, clock.now())
      return { revoked_user = token.user_id }
    end
    tx:write(store.rotate_token, token.id, clock.now())
    local refresh = add_token(tx, token.user_id, token.family)
    return { answer = answer(access_token(token.user_id, token), refresh) }
  end)
  if outcome.revoked_user then
    log.warn("a refresh token was used twice: its family is revoked", { user = outcome.revoked_user, peer = req.peer })
    refusal.raise("INVALID_REFRESH_TOKEN")
  end
  return outcome.answer
end

-- Ends the session that the refresh token belongs to, or, without one, all of the user's.
function auth.logout(req)
  local token = req.body and req.body.refresh_token
  if token then db.exec(store.revoke_token, crypto.sha256(token), req.user.id, clock.now())
  else db.exec(store.revoke_user, req.user.id, clock.now()) end
end

function auth.me(req) return db.one(store.get, req.user.id) end

return auth
