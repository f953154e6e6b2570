"""What is done: one file per stage or action, plain Python; `python -m tasks.<stage>` is a stage's command."""
