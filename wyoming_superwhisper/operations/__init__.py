"""What running a server takes besides serving: its state, its figures, its page, its memory, settings read again."""
