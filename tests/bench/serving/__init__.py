"""What `make bench` and `make bench-peers` measure a server with: models and requests, load, processes, our service."""
