-- The numbers of identity. How long tokens live is the operator's: jwt.access_ttl_s and jwt.refresh_ttl_s.
return {
  password_min = 10,      -- characters of a new password
  refresh_bytes = 32,     -- random bytes of a refresh token
}
