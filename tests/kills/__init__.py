"""Nothing kills it: somebody is killed before, in or behind every step of a run, and afterwards it comes to its end."""
