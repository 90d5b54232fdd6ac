"""Customers: from records to one row per customer (room ``customers``; may import graph, engines, core and errors).

``sources`` opens files and frames, ``roles`` and ``audit`` say which column means what and what was wrong with it,
``values`` turns columns into exact integers, ``transactions`` is the reader that users call. ``customer_state`` holds
the mergeable facts of each customer, from which ``features``, ``summary`` and ``cohorts`` are finished; ``scaling``
brings features to one scale.
"""
