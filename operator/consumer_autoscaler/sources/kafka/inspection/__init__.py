"""One look at a cluster for a person: listing, owners, exact ages. The `lag` command."""
