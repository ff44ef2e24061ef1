"""Authentication and authorization of the HTTP API."""
