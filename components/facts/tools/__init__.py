"""Facts of single tools of devices."""
