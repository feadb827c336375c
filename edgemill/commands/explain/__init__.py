"""`edgemill explain`: explains a candidate of a run."""
