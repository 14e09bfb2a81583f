"""Satellites that this server drives: it connects to them, and runs their turns as Home Assistant would."""
