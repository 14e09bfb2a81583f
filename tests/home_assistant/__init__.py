"""Home Assistant itself as the client: a real core in a process of its own, our server beside it."""
