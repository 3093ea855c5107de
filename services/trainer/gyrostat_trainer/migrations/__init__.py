"""The ledger's schema, version by version. The same versions run on SQLite and PostgreSQL."""
