"""The HTTP service, its client, and deployments."""
