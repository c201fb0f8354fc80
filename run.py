"""The command line: `python run.py demo`; see inside/cli/."""

import sys

if __name__ == "__main__":
    try:
        from inside.cli.main import main
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
