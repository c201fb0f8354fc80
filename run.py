"""The command line: `python run.py demo`; see inside/cli/."""

import signal
import sys

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows cannot take every sign, such as −
        stream.reconfigure(errors="backslashreplace")
    try:
        from inside.cli.main import main
        status = main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written, and told; leaving takes a moment
        sys.exit(status)
    except KeyboardInterrupt:
        anew = sys.argv[1:2] in (["check"], ["clean"], ["compare"], ["predict"], ["runs"])
        print(f"\nstopped; the same command {'begins anew' if anew else 'goes on from here'}", file=sys.stderr)
        sys.exit(130)
