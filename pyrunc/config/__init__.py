"""config.json: strict loading, schema validation, semantic checks, types."""
