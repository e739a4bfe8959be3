"""Describes the custom resource in our types: what users write and read, and the schema the API server enforces."""
