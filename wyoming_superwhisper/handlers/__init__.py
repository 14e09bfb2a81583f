"""Wyoming events in, Wyoming events out: one module per service."""
