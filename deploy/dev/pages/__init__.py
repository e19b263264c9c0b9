"""The documentation site: pages that are generated, and the commands and files that pages show, to be executed."""
