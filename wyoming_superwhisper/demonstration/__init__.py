"""The demonstration of `script/run`: starts the real server on the demo models, speaks to it and shows what happens.

Nothing here is staged: the server is a process of its own, the sentences are spoken by espeak-ng on the spot, what was
heard is compared with what was said, and the answer's sound is measured.
"""
