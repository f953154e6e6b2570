"""The pages for people: one local server, one login; every page is rendered here and served from here."""
