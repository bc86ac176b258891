"""A serial line without mercy: megabytes that are damaged on their way, and hours in which it fails in every way that it can."""
