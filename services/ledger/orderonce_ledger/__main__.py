"""Lets `python -m orderonce_ledger` run the service."""

from orderonce_ledger.main import main

if __name__ == "__main__":
    main()
