-- depends: 0007_client_is_few
-- Dead letters that a person has dealt with are taken out after a while, with their values of up to a mebibyte each.
GRANT DELETE ON api.dead_letter TO order_api;
