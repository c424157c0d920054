"""Account states kept between days, in a Delta Lake table."""
