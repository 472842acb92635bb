-- name: key_by_kid
-- Who holds this API key, and what it may do. Revoked and expired ones come too: the caller decides, in constant shape.
SELECT kid, client, secret_mac, pepper_id, scopes, accounts, max_quantity, max_notional,
       orders_per_second, status, expires_at
  FROM control.api_key
 WHERE kid = $1;
