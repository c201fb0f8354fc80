"""The command line: `python run.py demo`; see inside/cli/."""

import sys

from inside.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
