"""Pictures and tables at the end of a notebook's cell, one function for each class."""
