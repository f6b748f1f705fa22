"""One file per property; each has `PROPERTY = Property(...)` and is found by being here."""
