"""How a cluster is entered: TLS, logins, tokens, and why a broker refuses."""
