"""Scorers of this feature's own; feature.yaml names them as file:function (docs/scorers.md)."""
