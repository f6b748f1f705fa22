"""Reading and writing files safely: bounded text, checksums, atomic writes."""
