"""From songs to records of mel images."""
