"""Lets `python -m orderonce_paper` start the venue."""

from orderonce_paper.main import main

if __name__ == "__main__":
    raise SystemExit(main())
