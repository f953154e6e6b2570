"""The report of one cycle: a self-contained page for people, the same as Markdown, and a release card."""
