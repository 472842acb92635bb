"""The executor: places each order once, follows it to its end, and says so on `orders.events` and
`orders.fills`."""
