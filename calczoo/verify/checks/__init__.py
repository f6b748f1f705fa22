"""One file per check, each defining `CHECK`."""
