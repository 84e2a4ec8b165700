"""Ways to run the one ServerApp and ClientApp of the project."""

SERVER_APP = "strategies.server_app:app"
CLIENT_APP = "clients.client_app:app"
"""Import strings, the same as in pyproject.toml: nothing here imports what it runs."""
