"""poptrio_radius: a plugin of poptrio."""
