"""`python -m orderonce_executor`: runs the service with EXECUTOR_* settings."""

from orderonce_executor.main import main

if __name__ == "__main__":
    main()
