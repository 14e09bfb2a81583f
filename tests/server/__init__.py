"""The whole server in a process of its own, its real engines on the demo models, real clients over TCP."""
