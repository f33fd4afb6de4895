"""The schemas, and the validator that is compiled from them."""
