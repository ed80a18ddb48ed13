"""Tools to test code that uses indelible, and backends that implement it."""
