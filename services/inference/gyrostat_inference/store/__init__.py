"""What inference remembers: the spool of answers, the last plans, and the artifacts it has fetched."""
