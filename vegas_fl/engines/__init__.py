"""Two ways to run the project's ServerApp and ClientApp."""

SERVER_APP = "strategies.server_app:app"
CLIENT_APP = "clients.client_app:app"
"""Import strings, as in pyproject.toml: an engine does not import what it runs."""
