"""Stage tune: one file per arm, each of the shape (champion, examples, params, out folder) -> candidate and report."""
