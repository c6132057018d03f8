"""`python -m examples.timelapse`: the main job, with a camera and a store of its own."""

import sys

from .studio.job import main

if __name__ == "__main__":
    sys.exit(main())
