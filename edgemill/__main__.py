"""`python -m edgemill`, for timers and containers, where the command is not on PATH."""

from edgemill.main import main

if __name__ == "__main__":
    main()
