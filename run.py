"""The command line: `python run.py demo`; see inside/cli/."""

import signal
import sys

if __name__ == "__main__":
    try:
        from inside.cli.main import main
        status = main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written, and told; leaving takes a moment
        sys.exit(status)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
