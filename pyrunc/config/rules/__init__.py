"""What a configuration has to say beyond its schema."""
