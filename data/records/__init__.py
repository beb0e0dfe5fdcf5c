"""Records: the small named tuples that travel through papergrid, one file for each kind of work.

Methods import the file whose records they use: a run's signature covers the source that its method imports, and a new
record of one kind must not name the runs of another anew.
"""
