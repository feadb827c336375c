"""`edgemill explain`: what explains a candidate of a run."""
