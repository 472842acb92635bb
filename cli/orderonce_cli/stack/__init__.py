"""The whole system on this machine without Docker: Postgres, Kafka and the services as children."""
