"""The kinds of groups, what a broker says about each, and how many consumers of it can have work."""
