"""Lets `python -m orderonce_cli` be the same as `orderonce`."""

from orderonce_cli.main import app

if __name__ == "__main__":
    app()
