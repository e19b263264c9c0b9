"""`python -m consumer_autoscaler`."""

from consumer_autoscaler.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
