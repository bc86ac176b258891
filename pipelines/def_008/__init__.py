"""DEF-008, communication jamming resilience: reports and audit records of a forward node over a link that somebody jams."""
