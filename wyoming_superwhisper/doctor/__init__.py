"""Looks at the machine and the settings and says what is wrong and what to do about it.

Each check is a function that yields `Finding`s from what it is handed, so that a test can hand it something broken.
Nothing heavy is imported here: torch, llama.cpp and PortAudio are asked in processes of their own.
"""
