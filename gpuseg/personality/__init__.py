"""Spend personality: what people buy, as continuous scores (room ``personality``; insight and jobs call it).

``category_map`` says which spend category of the studies a merchant code or a shop's own category stands for;
``spend_state`` holds the mergeable, decayed facts of each customer, of which ``evidence`` is made. ``scoring`` makes
scores of it, by ``weights`` and a ``reference``. ``calibration`` fits weights to a ``survey``, on ``category_features``
and ``indicators``. ``message_groups`` choose a message by score within ``use_limits``; ``membership`` softens KMeans
segments. May import customers, cluster, engines, core and errors.
"""
