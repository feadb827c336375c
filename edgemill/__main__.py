"""`python -m edgemill`, for places where no command is on PATH: timers, containers."""

from edgemill.main import main

if __name__ == "__main__":
    main()
