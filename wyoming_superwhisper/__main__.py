"""`python -m wyoming_superwhisper`: the same as the command `wyoming-superwhisper`."""

import sys

from wyoming_superwhisper.cli import main

if __name__ == "__main__":
    sys.exit(main())
