"""The custom resource in our types: what users write, what they read, and the schema the API server enforces."""
