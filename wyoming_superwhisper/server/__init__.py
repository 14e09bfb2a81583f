"""What clients connect to: where it listens, who is let in and has a place, each connection, and what is seen of it."""
