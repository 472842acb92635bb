"""Words and pipes that the services share. Decides nothing about an order."""
